package interop

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/redisstore"
)

// TestReplicas lets three processes refresh at the same moment, at each server: one call, or the family would be dead. At
// oidc-provider a refresh token that comes twice takes the access tokens along. ATK-F03
func TestReplicas(t *testing.T) {
	clients := readClients(t)
	store, err := redisstore.Open(backing.RedisForTest(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keys := [][]byte{session.GenerateKey()}
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			placements := map[string]session.Config{
				"store":   {Keys: keys, Store: store, Replicas: true},
				"cookies": {Keys: keys, Coordination: store, Replicas: true},
			}
			apps := map[string]*application{}
			var redirects, loggedOut []string
			for name, cfg := range placements {
				a := listen(t)
				a.sessions = []session.Config{cfg, cfg, cfg}
				apps[name] = a
				redirects = append(redirects, a.url+"/auth/callback")
				loggedOut = append(loggedOut, a.url+"/auth/logout/callback")
			}
			issuer := p.start(t, redirects, loggedOut, "ACCESS_TTL=300")
			for name, app := range apps {
				t.Run(name, func(t *testing.T) {
					app.serve(t, issuer, clients.Clients[0], client.Query)
					refreshTogether(t, app, newAgent(t, clients.User, clients.Password))
				})
			}
		})
	}
}

func refreshTogether(t *testing.T, app *application, alice *agent) {
	if p := alice.navigate(app.url+"/me", ""); p.status != http.StatusOK {
		t.Fatalf("the login ended at %s with status %d", p.url, p.status)
	}
	const rounds, parallel = 2, 24 // with a third the clock would be past the life of a new ID token
	last := app.call(t, alice, app.session(t, alice).Subject)
	for round := 1; round <= rounds; round++ {
		app.wind(app.session(t, alice).AccessTokenExpiresAt.Add(time.Second)) // dead: nobody can be served without the new one
		var wg sync.WaitGroup
		for range parallel {
			wg.Go(func() {
				resp, err := alice.http.Get(app.url + "/userinfo")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
					t.Errorf("status %d: %s", resp.StatusCode, body)
				}
			})
		}
		wg.Wait()
		if got := app.told([]string{client.EventTokenRefreshed}); len(got) != round {
			t.Fatalf("%d refreshes for %d expiries", len(got), round)
		}
		next := app.call(t, alice, app.session(t, alice).Subject)
		if next.access == last.access || next.refresh == last.refresh {
			t.Fatal("old tokens")
		}
		last = next
	}
	if lost := app.told([]string{client.EventSessionEnded, client.EventRefreshFailed}); len(lost) != 0 {
		t.Errorf("%q", lost)
	}
}
