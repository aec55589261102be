package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// tlsHost is a name of its own, so that the application and the authorization server are two sites to the browser.
const tlsHost = "app.example"

// TestBrowserTLS runs the application as in production: behind a proxy that ends TLS, under a host name, at another
// site than the authorization server.
func TestBrowserTLS(t *testing.T) {
	front := httptest.NewUnstartedServer(nil)
	home, flags := underTLS(t, front)
	app := startWebapp(t,
		"OAUTH_REDIRECT_URI="+home+"/auth/callback",
		"OAUTH_POST_LOGOUT_REDIRECT_URI="+home+"/auth/logout/callback")
	behind, err := url.Parse(app.url)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host
	}}
	front.StartTLS()
	t.Cleanup(front.Close)

	b := newBrowser(t, flags...)
	tb := b.tab()
	tb.open(home+"/me", "http://127.0.0.1:")
	pending := b.ours(tlsHost)
	if len(pending) != 1 {
		t.Fatalf("%d cookies while a login is pending", len(pending))
	}
	checkHostCookie(t, pending[0], network.CookieSameSiteLax)
	tb.logInAs("user-alice", home+"/me")

	kept := b.ours(tlsHost)
	if len(kept) != 1 || kept[0].Name != "__Host-"+sessionCookie {
		t.Fatalf("cookies after the login: %v", names(kept))
	}
	checkHostCookie(t, kept[0], network.CookieSameSiteLax)
	if got := b.session(home).Subject; got != "user-alice" {
		t.Errorf("subject %q", got)
	}

	// ATK-K01: the browser itself refuses to plant such a cookie from a page of the site, with or without a domain.
	evaluate[string](tb, `document.cookie = "__Host-sallyport=planted; Secure; Path=/; Domain=`+tlsHost+`"`)
	evaluate[string](tb, `document.cookie = "__Host-sallyport=planted; Path=/"`)
	if again := b.cookie(tlsHost, "__Host-"+sessionCookie); again == nil || again.Value != kept[0].Value {
		t.Error("the session cookie was planted")
	}

	tb.click(`form[action="/auth/logout"] button`, home+"/")
	if left := b.ours(tlsHost); len(left) != 0 {
		t.Errorf("cookies after the logout: %v", names(left))
	}
	tb.quiet()
}

// TestBrowserFormPost: the response comes as a POST from another site, which carries only the cookies that say so.
func TestBrowserFormPost(t *testing.T) {
	app := &application{server: httptest.NewUnstartedServer(nil)}
	t.Cleanup(app.server.Close)
	var flags []chromedp.ExecAllocatorOption
	app.url, flags = underTLS(t, app.server)
	const secret = "a secret with :+%&é in it"
	server := authtest.NewServer(authtest.Config{Interactive: true, Clients: []authtest.Client{{
		ID: "form-post", Secret: secret, RedirectURIs: []string{app.url + "/auth/callback"},
	}}})
	t.Cleanup(server.Close)
	app.serve(t, server.Issuer(), registration{ID: "form-post", Secret: secret, Method: "client_secret_basic"}, client.FormPost)

	b := newBrowser(t, flags...)
	tb := b.tab()
	tb.open(app.url+"/me", server.Issuer())
	pending := b.ours(tlsHost)
	if len(pending) != 1 {
		t.Fatalf("%d cookies while a login is pending", len(pending))
	}
	checkHostCookie(t, pending[0], network.CookieSameSiteNone)
	tb.logInAs("user-alice", app.url+"/me")
	if got := b.session(app.url).Subject; got != "user-alice" {
		t.Errorf("subject %q", got)
	}
	kept := b.ours(tlsHost)
	if len(kept) != 1 {
		t.Fatalf("cookies after the login: %v", names(kept))
	}
	checkHostCookie(t, kept[0], network.CookieSameSiteLax)
	tb.quiet()
}

func checkHostCookie(t *testing.T, c *network.Cookie, site network.CookieSameSite) {
	t.Helper()
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HTTPOnly || c.Path != "/" || c.Domain != tlsHost || c.SameSite != site {
		t.Errorf("cookie %s: Secure %t, HttpOnly %t, Path %s, Domain %s, SameSite %s", c.Name, c.Secure, c.HTTPOnly, c.Path, c.Domain, c.SameSite)
	}
}

// underTLS gives server a certificate for tlsHost. It returns the URL of the server under that name, and the flags with
// which the browser finds and believes it.
func underTLS(t *testing.T, server *httptest.Server) (home string, flags []chromedp.ExecAllocatorOption) {
	t.Helper()
	certificate, pin := testCertificate(t)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + tlsHost + ":" + port, []chromedp.ExecAllocatorOption{
		chromedp.Flag("host-resolver-rules", "MAP "+tlsHost+" 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors-spki-list", pin),
	}
}

// testCertificate is a certificate for tlsHost, and the pin by which the browser is told to believe it.
func testCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tlsHost}, DNSNames: []string{tlsHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(spki)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(digest[:])
}
