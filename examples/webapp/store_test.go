//go:build unix

package main

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// replicas are two instances of the application on one store, behind one address.
type replicas struct {
	t      *testing.T
	as     *authtest.Server
	origin string
	user   *http.Client
	only   atomic.Int64 // which instance answers: 0 or 1
}

// start starts both as the variables say, in addition to those of the login.
func start(t *testing.T, variables ...string) *replicas {
	t.Helper()
	r := &replicas{t: t}
	front := httptest.NewUnstartedServer(nil)
	r.origin = "http://" + front.Listener.Addr().String()
	r.as = authtest.NewServer(authtest.Config{Clients: []authtest.Client{{
		ID: "web", Secret: "canary-client-secret", RedirectURIs: []string{r.origin + "/auth/callback"}, PostLogoutRedirectURIs: []string{r.origin + "/auth/logout/callback"}}}})
	t.Cleanup(r.as.Close)
	variables = append([]string{
		"OAUTH_ISSUER", r.as.Issuer(), "OAUTH_CLIENT_ID", "web", "OAUTH_CLIENT_SECRET", "canary-client-secret",
		"OAUTH_REDIRECT_URI", r.origin + "/auth/callback", "OAUTH_POST_LOGOUT_REDIRECT_URI", r.origin + "/auth/logout/callback",
		"SESSION_KEYS", base64.RawURLEncoding.EncodeToString(session.GenerateKey()),
	}, variables...)
	var instances []http.Handler
	for range 2 {
		env, err := readEnvironment(environ(variables...), discard())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(env.close)
		h, sessions, err := routes(env.client, env.session, env.resource)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := sessions.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
		instances = append(instances, h)
	}
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		instances[r.only.Load()].ServeHTTP(w, req)
	})
	front.Start()
	t.Cleanup(front.Close)
	r.user = r.browser()
	return r
}

func (r *replicas) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// begin opens /me at instance i and follows it as far as the callback, which is returned.
func (r *replicas) begin(i int64) (callback string) {
	r.t.Helper()
	r.only.Store(i)
	stop := r.user.CheckRedirect
	defer func() { r.user.CheckRedirect = stop }()
	r.user.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == "/auth/callback" {
			callback = req.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	if status, body, _ := get(r.t, r.user, r.origin+"/me", "Accept", "text/html"); callback == "" {
		r.t.Fatalf("no login begins: %d %s", status, body)
	}
	return callback
}

func (r *replicas) login() {
	r.t.Helper()
	callback := r.begin(0)
	r.only.Store(1)
	if status, body, _ := get(r.t, r.user, callback); status != http.StatusOK || !strings.Contains(body, "Hello, Alice Adams") {
		r.t.Fatalf("the login ends with %d %s", status, body)
	}
}

// served is what instance i answers to the browser c at /me, asked as a program does.
func (r *replicas) served(c *http.Client, i int64) int {
	r.t.Helper()
	r.only.Store(i)
	status, _, _ := get(r.t, c, r.origin+"/me")
	return status
}

// life is a session over both instances, from login to logout.
func (r *replicas) life() {
	t := r.t
	t.Helper()
	r.login()
	before := r.as.Requests(authtest.Token)
	r.only.Store(1)
	if status, _, _ := post(t, r.user, r.origin+"/refresh"); status != http.StatusOK {
		t.Errorf("refresh: %d", status)
	}
	for i := range int64(2) {
		if status := r.served(r.user, i); status != http.StatusOK {
			t.Errorf("instance %d: %d", i, status)
		}
		if status, body, _ := get(t, r.user, r.origin+"/api/resource"); status != http.StatusOK || !strings.Contains(body, `"sub":"user-alice"`) {
			t.Errorf("resource at %d: %d %s", i, status, body)
		}
	}
	if n := r.as.Requests(authtest.Token) - before; n != 1 {
		t.Errorf("%d token requests for one refresh", n)
	}
	thief := r.browser()
	u, err := http.NewRequest(http.MethodGet, r.origin, nil)
	if err != nil {
		t.Fatal(err)
	}
	thief.Jar.SetCookies(u.URL, r.user.Jar.Cookies(u.URL))
	if status := r.served(thief, 1); status != http.StatusOK {
		t.Errorf("a copy of the cookie: %d", status)
	}
	r.only.Store(0)
	post(t, r.user, r.origin+"/auth/logout")
	if status := r.served(thief, 1); status != http.StatusUnauthorized {
		t.Errorf("logged out at one instance, the other answers %d", status)
	}
}

// outage takes the store away from a user who is logged in, and gives it back.
func (r *replicas) outage(kill func() error, restart func(context.Context) error) {
	t := r.t
	t.Helper()
	r.login()
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	r.away(r.user)
	if status, body, h := post(t, r.user, r.origin+"/auth/logout"); status != http.StatusServiceUnavailable || !strings.Contains(body, "You are still logged in") || h.Get("Set-Cookie") != "" {
		t.Errorf("logout: %d %s", status, body)
	}
	if err := restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.back()
}

// away checks what both instances say to a user with a session whose store is away.
func (r *replicas) away(c *http.Client) {
	t := r.t
	t.Helper()
	for i := range int64(2) {
		r.only.Store(i)
		status, body, _ := get(t, c, r.origin+"/")
		if status != http.StatusOK || !strings.Contains(body, "It cannot be told who is logged in") || strings.Contains(body, "Log in") {
			t.Errorf("home: %d %s", status, body)
		}
		for _, target := range []string{"/me", "/api/resource", "/auth/session"} {
			status, body, h := get(t, c, r.origin+target)
			if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || h.Get("Set-Cookie") != "" || !strings.Contains(body, `"code":"unavailable"`) {
				t.Errorf("%s: %d %v %s", target, status, h, body)
			}
		}
	}
}

// back waits until both instances have their store again, and expects the user to be logged in.
func (r *replicas) back() {
	r.t.Helper()
	for i := range int64(2) {
		for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			status := r.served(r.user, i)
			if status == http.StatusOK {
				break
			}
			if status != http.StatusServiceUnavailable || time.Since(began) > time.Minute {
				r.t.Fatalf("instance %d, with the store there again: %d", i, status)
			}
		}
	}
}

// placements are the variables that lead to a store.
var placements = []string{"SESSION_STORE", "SESSION_COORDINATION"}

func TestRedis(t *testing.T) { // ATK-K15: a copy of the cookie after the logout; ATK-K17
	server := backing.RedisForTest(t, "appendfsync always")
	for _, variable := range placements {
		t.Run(variable, func(t *testing.T) {
			start(t, variable, server.URL()).life()
			start(t, variable, server.URL()).outage(server.Kill, server.Restart)
		})
	}
}

func TestPostgres(t *testing.T) {
	server := backing.PostgresForTest(t)
	// ATK-K15, ATK-K17: both start while the database is away, and need nobody when it comes.
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	early := start(t, "SESSION_STORE", server.URL())
	if status, body, _ := get(t, early.user, early.origin+"/"); status != http.StatusOK || !strings.Contains(body, "Nobody is logged in") {
		t.Errorf("home: %d %s", status, body)
	}
	callback := early.begin(0)
	if status, body, h := get(t, early.user, callback); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || early.as.Requests(authtest.Token) != 0 {
		t.Errorf("a login without a store: %d %s", status, body)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range int64(2) {
		early.user = early.browser()
		for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			status, body, _ := get(t, early.user, early.begin(i))
			if status == http.StatusOK {
				break
			}
			if status != http.StatusServiceUnavailable || time.Since(began) > time.Minute {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	early.user = early.browser()
	early.life()
	for _, variable := range placements {
		t.Run(variable, func(t *testing.T) {
			start(t, variable, server.URL()).life()
			start(t, variable, server.URL()).outage(server.Kill, server.Restart)
		})
	}
}

// Without a server to come, the application runs all the same, and ends.
func TestStoreIsAway(t *testing.T) { // ATK-K17
	for _, url := range []string{"redis://127.0.0.1:1", "postgres://127.0.0.1:1/x"} {
		r := start(t, "SESSION_STORE", url)
		callback := r.begin(0)
		if status, _, h := get(t, r.user, callback); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
			t.Errorf("%s: %d", url, status)
		}
	}
}

func TestMemory(t *testing.T) {
	env, err := readEnvironment(environ("SESSION_STORE", "memory"), discard())
	if err != nil {
		t.Fatal(err)
	}
	defer env.close()
	if env.session.Store == nil || env.session.Store.Shared() || env.session.Coordination != nil {
		t.Error("sessions are not in this process's memory")
	}
}
