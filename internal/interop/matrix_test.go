package interop

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// TestServers is the matrix: at each server, with each way of client authentication, a user logs in, the application
// calls userinfo for her, her tokens are rotated twice, and her logout ends everything at the server too.
func TestServers(t *testing.T) {
	clients := readClients(t)
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			var apps []*application
			var redirects, loggedOut []string
			for range clients.Clients {
				a := listen(t)
				apps = append(apps, a)
				redirects = append(redirects, a.url+"/auth/callback")
				loggedOut = append(loggedOut, a.url+"/auth/logout/callback")
			}
			issuer := p.start(t, redirects, loggedOut, "ACCESS_TTL=300")
			for i, c := range clients.Clients {
				t.Run(c.Method, func(t *testing.T) {
					apps[i].serve(t, issuer, c, client.Query)
					throughLife(t, apps[i], newAgent(t, clients.User, clients.Password), newHand(t, issuer, c))
				})
			}
		})
	}
}

func throughLife(t *testing.T, app *application, alice *agent, server *hand) {
	if p := alice.navigate(app.url+"/me?tab=2", ""); p.status != http.StatusOK || p.url.String() != app.url+"/me?tab=2" {
		t.Fatalf("the login ended at %s with status %d", p.url, p.status)
	}
	info := app.session(t, alice)
	if !info.Authenticated || info.Subject == "" || info.Issuer != app.issuer || !slices.Contains(info.Scopes, "offline_access") {
		t.Fatalf("session after login: %+v", info)
	}
	if !info.AccessTokenExpiresAt.After(app.now()) || !info.ExpiresAt.After(app.now()) {
		t.Errorf("deadlines %s and %s, now it is %s", info.AccessTokenExpiresAt, info.ExpiresAt, app.now())
	}

	first := app.call(t, alice, info.Subject)
	if again := app.call(t, alice, info.Subject); again != first {
		t.Error("tokens were refreshed although they were fresh")
	}
	seen := []tokens{first}
	for range 2 {
		app.wind(app.session(t, alice).AccessTokenExpiresAt.Add(-time.Second))
		next := app.call(t, alice, info.Subject)
		for _, old := range seen {
			if next.access == old.access || next.refresh == old.refresh {
				t.Fatal("an old token was kept over a refresh with rotation")
			}
		}
		seen = append(seen, next)
	}
	if got := app.session(t, alice); got.Subject != info.Subject || !slices.Equal(got.Scopes, info.Scopes) {
		t.Errorf("session after two refreshes: %+v, before: %+v", got, info)
	}

	last := seen[len(seen)-1]
	if status := server.userInfo(last.access); status != http.StatusOK {
		t.Fatalf("the last access token is dead before logout: status %d", status)
	}
	end := alice.submit(app.url+"/auth/logout", nil, "")
	if !slices.Contains(alice.trail, "GET "+app.url+"/auth/logout/callback") {
		t.Errorf("logout did not come back to the post-logout redirect URI:\n%s", strings.Join(alice.trail, "\n"))
	}
	if end.status != http.StatusOK || !strings.HasPrefix(end.url.String(), app.url+"/") {
		t.Errorf("logout ended at %s with status %d", end.url, end.status)
	}
	if got := app.session(t, alice); got.Authenticated {
		t.Errorf("session after logout: %+v", got)
	}
	if status := server.userInfo(last.access); status == http.StatusOK {
		t.Error("the access token lives on after logout")
	}
	server.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {last.refresh}}, http.StatusBadRequest)

	// Her session at the server has ended as well: she is asked for her password again.
	before := alice.passwords
	if p := alice.navigate(app.url+"/me", ""); p.status != http.StatusOK || alice.passwords != before+1 {
		t.Errorf("second login: status %d, %d passwords asked for", p.status, alice.passwords-before)
	}

	want := []string{client.EventLoginStarted, client.EventLoginCompleted, client.EventTokenRefreshed, client.EventTokenRefreshed,
		client.EventSessionEnded, client.EventLoginStarted, client.EventLoginCompleted}
	if got := app.told(want); !slices.Equal(got, want) {
		t.Errorf("events: %q, want %q", got, want)
	}
}
