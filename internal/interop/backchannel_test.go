package interop

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
)

// TestBackchannelLogout: alice is logged in to two applications, each a client of its own, through one session at
// oidc-provider. She logs out of one; the server tells the other, behind her back.
func TestBackchannelLogout(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("servers", "oidc-provider", "server.js"))
	if err != nil {
		t.Fatal(err)
	}
	if current, err := os.ReadFile(filepath.Join(installed(), "oidc-provider", "server.js")); err != nil || !bytes.Equal(current, source) {
		missing(t, "oidc-provider is not installed as it is here: run internal/interop/install")
	}
	clients := readClients(t)
	i := slices.IndexFunc(products, func(p product) bool { return p.name == "oidc-provider" })
	var apps []*application
	var redirects, loggedOut, backchannel []string
	for range clients.Clients {
		a := listen(t)
		apps = append(apps, a)
		redirects = append(redirects, a.url+"/auth/callback")
		loggedOut = append(loggedOut, a.url+"/auth/logout/callback")
		backchannel = append(backchannel, a.url+"/auth/backchannel-logout")
	}
	issuer := products[i].start(t, redirects, loggedOut, "BACKCHANNEL_LOGOUT_URIS="+strings.Join(backchannel, " "))
	for i, c := range clients.Clients {
		apps[i].cookie = c.ID
		apps[i].serve(t, issuer, c, client.Query)
	}
	first, second := apps[0], apps[1]
	alice := newAgent(t, clients.User, clients.Password)
	for _, a := range []*application{first, second} {
		if p := alice.navigate(a.url+"/me", ""); p.status != http.StatusOK || !a.session(t, alice).Authenticated {
			t.Fatalf("the login ended at %s with status %d", p.url, p.status)
		}
	}
	if alice.passwords != 1 {
		t.Fatalf("%d passwords asked for: not one session at the server", alice.passwords)
	}

	alice.submit(first.url+"/auth/logout", nil, "")
	for name, a := range map[string]*application{"the first": first, "the second": second} {
		if a.session(t, alice).Authenticated {
			t.Errorf("%s application has not ended the session", name)
		}
		if n := len(a.told([]string{middleware.EventLogoutReceived})); n != 1 {
			t.Errorf("%s application was told %d times, and refused %q", name, n, a.reasons(middleware.EventLogoutRefused))
		}
	}
	if got := second.reasons(client.EventSessionEnded); !slices.Equal(got, []string{"backchannel_logout"}) {
		t.Errorf("the second application's session ended for %q", got)
	}

	// The next login is a new session at the server, and not a dead one here.
	if p := alice.navigate(second.url+"/me", ""); p.status != http.StatusOK || !second.session(t, alice).Authenticated || alice.passwords != 2 {
		t.Errorf("second login: status %d, %d passwords asked for", p.status, alice.passwords)
	}
}
