package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// environment is what the variables say, with an embedded authorization server
// in place of what they do not.
type environment struct {
	listener net.Listener
	client   client.Config
	session  session.Config
	resource string // URL that GET /api/resource calls; empty: the server's userinfo endpoint
	home     string
	closers  []func()
}

// close ends what was opened, the last first. The application has ended by then.
func (env *environment) close() {
	for _, c := range slices.Backward(env.closers) {
		c()
	}
}

// unsupported are variables of the contract whose features this version does
// not have: refusing them beats running without what was asked for.
var unsupported = []string{"OAUTH_CLIENT_KEY", "OAUTH_CLIENT_CERT", "OAUTH_PROFILE", "OAUTH_DPOP", "OAUTH_PAR", "OAUTH_JAR", "OAUTH_JARM"}

func readEnvironment(getenv func(string) string, log *slog.Logger) (*environment, error) {
	env := &environment{}
	if err := env.read(getenv, log); err != nil {
		env.close()
		return nil, err
	}
	return env, nil
}

func (env *environment) read(getenv func(string) string, log *slog.Logger) (err error) {
	get := func(name, def string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return def
	}
	for _, name := range unsupported {
		if getenv(name) != "" {
			return fmt.Errorf("%s is set, but this version cannot do that yet: unset it", name)
		}
	}
	env.resource = getenv("RESOURCE_URL")
	if u, err := url.Parse(env.resource); env.resource != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Query().Has("access_token")) {
		return errors.New("RESOURCE_URL: an absolute URL without a token in it is needed")
	}
	if err := env.readStore(getenv, log); err != nil {
		return err
	}
	if env.session.Keys, err = readKeys(getenv("SESSION_KEYS"), log); err != nil {
		return err
	}
	if env.listener, err = net.Listen("tcp", get("LISTEN", "127.0.0.1:8080")); err != nil {
		return err
	}
	env.closers = append(env.closers, func() { env.listener.Close() })
	cfg := client.Config{
		Issuer:                getenv("OAUTH_ISSUER"),
		ClientID:              getenv("OAUTH_CLIENT_ID"),
		RedirectURI:           get("OAUTH_REDIRECT_URI", "http://"+loopback(env.listener.Addr())+"/auth/callback"),
		PostLogoutRedirectURI: getenv("OAUTH_POST_LOGOUT_REDIRECT_URI"),
		Scopes:                strings.Fields(get("OAUTH_SCOPES", "openid profile email offline_access")),
		UserInfo:              true,
		OnEvent:               client.LogEvents(log),
	}
	if cfg.RootCAs, err = readRoots(getenv("OAUTH_CA")); err != nil {
		return err
	}
	secret := client.Secret(getenv("OAUTH_CLIENT_SECRET"))
	switch method := get("OAUTH_CLIENT_AUTH", "client_secret_basic"); method {
	case "client_secret_basic":
		cfg.Authentication = client.SecretBasic(secret)
	case "client_secret_post":
		cfg.Authentication = client.SecretPost(secret)
	default:
		return errors.New("OAUTH_CLIENT_AUTH: this version has client_secret_basic and client_secret_post")
	}
	env.home = strings.TrimSuffix(cfg.RedirectURI, pathOf(cfg.RedirectURI)) + "/"
	env.client, env.session.OnEvent = cfg, cfg.OnEvent
	if cfg.Issuer == "" {
		env.embed()
		return nil
	}
	// Which provider it will be is known only here, and many that check PKCE
	// do not announce it. S256 is sent and the nonce checked in any case.
	env.client.Quirks.AssumePKCE = true
	return nil
}

// readKeys reads comma-separated base64url keys, newest first.
func readKeys(v string, log *slog.Logger) ([][]byte, error) {
	if v == "" {
		log.Warn("SESSION_KEYS is not set: made one for this run, sessions end with it")
		return [][]byte{session.GenerateKey()}, nil
	}
	var keys [][]byte
	for s := range strings.SplitSeq(v, ",") {
		k, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(s), "="))
		if err != nil {
			return nil, errors.New("SESSION_KEYS: a key is not base64url")
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("OAUTH_CA: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("OAUTH_CA: no certificate in the file")
	}
	return pool, nil
}

// transport calls the resource: with the authorization server's roots, as the default resource is there.
func transport(roots *x509.CertPool) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t
}

// loopback is where a browser on this machine reaches an address that is listened on.
func loopback(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port))
	}
	return a.String()
}

// pathOf is what follows the authority of a URL.
func pathOf(u string) string {
	_, rest, _ := strings.Cut(u, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}
