package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func environ(pairs ...string) func(string) string {
	m := map[string]string{"LISTEN": "127.0.0.1:0"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestReadEnvironment(t *testing.T) {
	key := base64.RawURLEncoding.EncodeToString(session.GenerateKey())
	old := base64.URLEncoding.EncodeToString(session.GenerateKey())
	for _, c := range []struct {
		name string
		set  []string
		want string // in the error; empty: none
	}{
		{"defaults", nil, ""},
		{"all addresses", []string{"LISTEN", ":0"}, ""},
		{"keys", []string{"SESSION_KEYS", key + ", " + old}, ""},
		{"post", []string{"OAUTH_ISSUER", "https://as.example", "OAUTH_CLIENT_ID", "a", "OAUTH_CLIENT_SECRET", "b", "OAUTH_CLIENT_AUTH", "client_secret_post"}, ""},
		{"bad key", []string{"SESSION_KEYS", "!"}, "SESSION_KEYS"},
		{"cookie", []string{"SESSION_STORE", "cookie"}, ""},
		{"memory", []string{"SESSION_STORE", "memory"}, ""},
		{"redis", []string{"SESSION_STORE", "redis://127.0.0.1:1", "SESSION_KEYS", key}, ""},
		{"redis over TLS", []string{"SESSION_STORE", "rediss://127.0.0.1:1", "SESSION_KEYS", key}, ""},
		{"postgres", []string{"SESSION_STORE", "postgres://127.0.0.1:1/x", "SESSION_KEYS", key}, ""},
		{"postgresql", []string{"SESSION_STORE", "postgresql://127.0.0.1:1/x", "SESSION_KEYS", key}, ""},
		{"coordination", []string{"SESSION_COORDINATION", "redis://127.0.0.1:1", "SESSION_KEYS", key}, ""},
		{"coordination of cookies", []string{"SESSION_STORE", "cookie", "SESSION_COORDINATION", "postgres://127.0.0.1:1/x", "SESSION_KEYS", key}, ""},
		{"store of no kind", []string{"SESSION_STORE", "mysql://user:canary@db", "SESSION_KEYS", key}, "SESSION_STORE: use cookie, memory, redis"},
		{"store that is a word", []string{"SESSION_STORE", "canary", "SESSION_KEYS", key}, "SESSION_STORE: use"},
		{"coordination of no kind", []string{"SESSION_COORDINATION", "memory", "SESSION_KEYS", key}, "SESSION_COORDINATION: use redis"},
		{"redis URL", []string{"SESSION_STORE", "redis://user:canary@127.0.0.1:port", "SESSION_KEYS", key}, "SESSION_STORE"},
		{"redis database", []string{"SESSION_STORE", "redis://user:canary@127.0.0.1/canary", "SESSION_KEYS", key}, "SESSION_STORE"},
		{"postgres URL", []string{"SESSION_STORE", "postgres://user:canary@127.0.0.1/x?sslmode=canary", "SESSION_KEYS", key}, "SESSION_STORE"},
		{"coordination beside a store", []string{"SESSION_STORE", "memory", "SESSION_COORDINATION", "redis://u:canary@127.0.0.1:1", "SESSION_KEYS", key}, "SESSION_COORDINATION is for SESSION_STORE=cookie"},
		{"shared store without keys", []string{"SESSION_STORE", "redis://u:canary@127.0.0.1:1"}, "openssl rand"},
		{"shared coordination without keys", []string{"SESSION_COORDINATION", "postgres://u:canary@127.0.0.1:1/x"}, "openssl rand"},
		{"profile", []string{"OAUTH_PROFILE", "fapi2"}, "OAUTH_PROFILE"},
		{"dpop", []string{"OAUTH_DPOP", "1"}, "OAUTH_DPOP"},
		{"method", []string{"OAUTH_CLIENT_AUTH", "private_key_jwt"}, "OAUTH_CLIENT_AUTH"},
		{"no CA file", []string{"OAUTH_CA", filepath.Join(t.TempDir(), "none.pem")}, "OAUTH_CA"},
		{"resource", []string{"RESOURCE_URL", "nope"}, "RESOURCE_URL"},
		{"address", []string{"LISTEN", "nowhere"}, "listen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, err := readEnvironment(environ(c.set...), discard())
			if err == nil {
				defer env.close()
				if _, _, err := routes(env.client, env.session, env.resource); err != nil {
					t.Errorf("routes: %v", err)
				}
			}
			if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestReadRoots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRoots(file); err == nil {
		t.Error("a file without a certificate was taken")
	}
}

// app is the application against a server that logs alice in at once.
func app(t *testing.T, server authtest.Config, resource string) (*authtest.Server, *http.Client, string) {
	t.Helper()
	front := httptest.NewUnstartedServer(nil)
	origin := "http://" + front.Listener.Addr().String()
	server.Clients = []authtest.Client{{ID: "web", Secret: "canary-client-secret", RedirectURIs: []string{origin + "/auth/callback"}, PostLogoutRedirectURIs: []string{origin + "/auth/logout/callback"}}}
	as := authtest.NewServer(server)
	t.Cleanup(as.Close)
	h, _, err := routes(client.Config{
		Issuer: as.Issuer(), ClientID: "web", Authentication: client.SecretBasic(client.Secret("canary-client-secret")),
		RedirectURI: origin + "/auth/callback", PostLogoutRedirectURI: origin + "/auth/logout/callback",
		Scopes: []string{"openid", "profile", "email", "offline_access"}, UserInfo: true, RootCAs: as.CertPool(),
	}, session.Config{Keys: [][]byte{session.GenerateKey()}}, resource)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = h
	front.Start()
	t.Cleanup(front.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	if pool := as.CertPool(); pool != nil {
		c.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	return as, c, origin
}

// OAUTH_CA counts for the default resource too: it is the authorization server's.
func TestPrivateAuthority(t *testing.T) {
	_, c, origin := app(t, authtest.Config{TLS: true, IssuerPath: "/tenant/"}, "")
	if status, _, _ := get(t, c, origin+"/me", "Accept", "text/html"); status != 200 {
		t.Fatalf("login: %d", status)
	}
	if status, body, _ := get(t, c, origin+"/api/resource"); status != 200 || !strings.Contains(body, "user-alice") {
		t.Errorf("resource: %d %s", status, body)
	}
}

func get(t *testing.T, c *http.Client, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) (int, string, http.Header) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// The contract's routes, from nobody to logged in, refreshed and out again.
func TestContract(t *testing.T) {
	as, c, origin := app(t, authtest.Config{}, "")
	if status, body, _ := get(t, c, origin+"/"); status != 200 || !strings.Contains(body, "Nobody is logged in") {
		t.Fatalf("home: %d", status)
	}
	if status, _, h := get(t, c, origin+"/me"); status != 401 || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("/me without a login: %d %s", status, h.Get("Content-Type"))
	}
	if status, _, _ := get(t, c, origin+"/api/resource"); status != 401 {
		t.Errorf("/api/resource without a login: %d", status)
	}
	if _, body, _ := get(t, c, origin+"/auth/session"); strings.TrimSpace(body) != `{"authenticated":false}` {
		t.Errorf("/auth/session: %s", body)
	}
	status, page, h := get(t, c, origin+"/me", "Accept", "text/html")
	if status != 200 || !strings.Contains(page, "Hello, Alice Adams") || !strings.Contains(page, "offline_access") {
		t.Fatalf("/me as a navigation: %d", status)
	}
	if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers of the page: %v", h)
	}
	_, body, _ := get(t, c, origin+"/auth/session")
	var info map[string]any
	if err := json.Unmarshal([]byte(body), &info); err != nil || info["authenticated"] != true || info["subject"] != "user-alice" || info["issuer"] != as.Issuer() {
		t.Errorf("/auth/session: %s", body)
	}
	if status, body, _ := get(t, c, origin+"/api/resource"); status != 200 || !strings.Contains(body, `"sub":"user-alice"`) {
		t.Errorf("/api/resource: %d %s", status, body)
	}
	before := as.Requests(authtest.Token)
	status, _, _ = post(t, c, origin+"/refresh")
	if n := as.Requests(authtest.Token) - before; status != 200 || n != 1 {
		t.Errorf("refresh: %d, %d token requests", status, n)
	}
	status, _, _ = post(t, c, origin+"/auth/logout")
	if _, body, _ := get(t, c, origin+"/auth/session"); strings.TrimSpace(body) != `{"authenticated":false}` {
		t.Errorf("after logout (%d): %s", status, body)
	}
	for _, text := range []string{page, body} {
		if strings.Contains(text, "canary-client-secret") || strings.Contains(text, "eyJ") || strings.Contains(text, "nonce") {
			t.Error("a token or a secret reached the browser in clear")
		}
	}
}

func post(t *testing.T, c *http.Client, to string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", u.Scheme+"://"+u.Host)
	return do(t, c, req)
}

// The resource's answer passes through, its cookies do not.
func TestResourcePassesThrough(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || r.Header.Get("Cookie") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Set-Cookie", "theirs=1")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, "<b>busy</b>")
	}))
	defer api.Close()
	_, c, origin := app(t, authtest.Config{}, api.URL)
	get(t, c, origin+"/me", "Accept", "text/html")
	status, body, h := get(t, c, origin+"/api/resource")
	if status != http.StatusConflict || body != "<b>busy</b>" || h.Get("Set-Cookie") != "" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %d %q %v", status, body, h)
	}
	api.Close()
	if status, _, h := get(t, c, origin+"/api/resource"); status != http.StatusBadGateway || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a resource that is away: %d", status)
	}
}

func TestRefuse(t *testing.T) {
	transient := client.NewError(client.ErrTransport, "", nil)
	for _, c := range []struct {
		name   string
		err    error
		status int
	}{
		{"login", client.NewError(client.ErrGrantRevoked, "", nil), 401},
		{"server away", transient, 503},
		{"redirect", client.NewError(client.ErrRedirectRefused, "", nil), 502},
		{"refused", client.NewError(middleware.ErrResourceRefused, "scheme", nil), 502},
		{"resource", errors.New("dial"), 502},
	} {
		w := httptest.NewRecorder()
		refuse(w, c.err)
		if w.Code != c.status || (c.status == 503) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s: %d %v", c.name, w.Code, w.Header())
		}
		if bytes.Contains(w.Body.Bytes(), []byte("dial")) {
			t.Errorf("%s: the cause is on the page", c.name)
		}
	}
}

// SIGTERM lets what has begun come to its end, in the foreground and then in the background.
func TestServeDrains(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	begun, done := make(chan struct{}), make(chan error, 1)
	errBackground := errors.New("background")
	var answered atomic.Bool
	go func() {
		done <- serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-ctx.Done()
			io.WriteString(w, "whole")
			answered.Store(true)
		}), func(ctx context.Context) error {
			if _, limited := ctx.Deadline(); !answered.Load() || ctx.Err() != nil || !limited {
				t.Error("the background is ended before the requests, or for ever")
			}
			return errBackground
		})
	}()
	go func() { <-begun; stop() }()
	if status, body, _ := get(t, &http.Client{}, "http://"+l.Addr().String()); status != 200 || body != "whole" {
		t.Errorf("got %d %q", status, body)
	}
	if err := <-done; !errors.Is(err, errBackground) {
		t.Error(err)
	}
}

// A token that the API refuses is renewed within the request, and the browser gets the new session with the answer.
func TestRenewedSessionLeavesWithTheAnswer(t *testing.T) {
	var refused atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused.CompareAndSwap(false, true) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	as, c, origin := app(t, authtest.Config{}, api.URL)
	get(t, c, origin+"/me", "Accept", "text/html")
	before := as.Requests(authtest.Token)
	status, _, h := get(t, c, origin+"/api/resource")
	if status != 200 || as.Requests(authtest.Token)-before != 1 || h.Get("Set-Cookie") == "" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d, %d token requests, %v", status, as.Requests(authtest.Token)-before, h)
	}
	if _, _, h = get(t, c, origin+"/api/resource"); h.Get("Set-Cookie") != "" {
		t.Error("written again without need")
	}
}
