package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// application is a small web application with a login, on a clock of its own.
type application struct {
	url       string
	issuer    string
	server    *httptest.Server
	transport http.RoundTripper // of the back channel; nil: the client's own
	cookie    string            // name of the session's cookie; empty: the usual one. Cookies do not know ports.
	sessions  []session.Config  // of each process that serves it, in turn; empty: one, with sessions in cookies

	mu       sync.Mutex
	ahead    time.Duration  // of the real time
	events   []client.Event // of the session manager and the middleware
	protocol []client.Event // of the client, which tells of a refresh as well
	current  tokens
}

// tokens are what the application holds for the user of the last request.
type tokens struct{ access, refresh string }

// listen takes a port: its URL has to be registered at a server before the application can be configured for it.
func listen(t *testing.T) *application {
	a := &application{server: httptest.NewUnstartedServer(nil)}
	t.Cleanup(a.server.Close)
	a.url = "http://" + a.server.Listener.Addr().String()
	return a
}

// serve configures the application as client reg of the server, and starts it.
func (a *application) serve(t *testing.T, issuer string, reg registration, mode client.ResponseMode) {
	t.Helper()
	if a.sessions == nil {
		a.sessions = []session.Config{{Keys: [][]byte{session.GenerateKey()}}}
	}
	var processes []http.Handler
	for _, cfg := range a.sessions {
		processes = append(processes, a.process(t, cfg, issuer, reg, mode))
	}
	var next atomic.Uint64
	a.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		processes[next.Add(1)%uint64(len(processes))].ServeHTTP(w, r)
	})
	if a.server.TLS != nil {
		a.server.StartTLS()
	} else {
		a.server.Start()
	}
}

// process is what one process of the application serves.
func (a *application) process(t *testing.T, cfg session.Config, issuer string, reg registration, mode client.ResponseMode) http.Handler {
	t.Helper()
	authentication := client.SecretBasic(client.Secret(reg.Secret))
	if reg.Method == "client_secret_post" {
		authentication = client.SecretPost(client.Secret(reg.Secret))
	}
	a.issuer = issuer
	c, err := client.New(client.Config{
		Issuer:                issuer,
		ClientID:              reg.ID,
		Authentication:        authentication,
		RedirectURI:           a.url + "/auth/callback",
		PostLogoutRedirectURI: a.url + "/auth/logout/callback",
		Scopes:                []string{"openid", "profile", "email", "offline_access"},
		UserInfo:              true,
		ResponseMode:          mode,
		Transport:             a.transport,
		OnEvent:               a.recordIn(&a.protocol),
		Now:                   a.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.CookieName, cfg.OnEvent, cfg.Now = a.cookie, a.recordIn(&a.events), a.now
	s, err := session.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := middleware.New(s, c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "home") })
	mux.Handle("GET /me", auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "me")
	})))
	mux.Handle("GET /userinfo", auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := middleware.FromContext(r.Context())
		a.mu.Lock()
		a.current = tokens{string(s.Tokens().AccessToken), string(s.Tokens().RefreshToken)}
		a.mu.Unlock()
		m, err := c.Discover(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := auth.Client(r.Context()).Get(m.UserInfoEndpoint)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})))
	return auth.Handler(mux)
}

func (a *application) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Add(a.ahead)
}

// wind puts the application's clock forward to t.
func (a *application) wind(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ahead = time.Until(t)
}

func (a *application) recordIn(list *[]client.Event) func(context.Context, client.Event) {
	return func(_ context.Context, e client.Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		*list = append(*list, e)
	}
}

// told are the events so far, of the kinds that are of interest.
func (a *application) told(kinds []string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var told []string
	for _, e := range a.events {
		if slices.Contains(kinds, e.Kind) {
			told = append(told, e.Kind)
		}
	}
	return told
}

type sessionInfo struct {
	Authenticated        bool      `json:"authenticated"`
	Subject              string    `json:"subject"`
	Issuer               string    `json:"issuer"`
	Scopes               []string  `json:"scopes"`
	ExpiresAt            time.Time `json:"expires_at"`
	AccessTokenExpiresAt time.Time `json:"access_token_expires_at"`
}

func (a *application) session(t *testing.T, user *agent) sessionInfo {
	t.Helper()
	status, body := user.get(a.url + "/auth/session")
	var info sessionInfo
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields() // such as a token
	if err := decoder.Decode(&info); err != nil || status != http.StatusOK {
		t.Fatalf("session: status %d, %v", status, err)
	}
	return info
}

// call asks the server's userinfo endpoint through the application and returns the tokens that it held afterwards.
func (a *application) call(t *testing.T, user *agent, subject string) tokens {
	t.Helper()
	status, body := user.get(a.url + "/userinfo")
	var claims struct{ Sub, Email string }
	if err := json.Unmarshal([]byte(body), &claims); err != nil || status != http.StatusOK {
		t.Fatalf("userinfo: status %d, %v", status, err)
	}
	if claims.Sub != subject || claims.Email != user.user {
		t.Errorf("userinfo is about %q with e-mail %q", claims.Sub, claims.Email)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current.access == "" || a.current.refresh == "" {
		t.Error("the application holds no tokens")
	}
	return a.current
}

// reasons are those of the events of one kind so far.
func (a *application) reasons(kind string) (reasons []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.Kind == kind {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}
