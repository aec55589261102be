package authtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func (g *rig) stats(exchanges, refreshes, rotations, repeats, reused int) {
	g.t.Helper()
	s := g.as.Stats()
	got := [5]int{s.Exchanges, s.Refreshes, s.Rotations, s.Repeats, len(s.Reused)}
	if want := [5]int{exchanges, refreshes, rotations, repeats, reused}; got != want {
		g.t.Errorf("exchanges, refreshes, rotations, repeats, reused are %v, want %v", got, want)
	}
}

func (g *rig) grant(token any) authtest.Grant {
	g.t.Helper()
	text, _ := token.(string)
	grant, ok := g.as.Grant(text)
	if !ok {
		g.t.Fatal("the token has no grant")
	}
	return grant
}

func TestStats(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, authtest.Config{RotationGrace: 30 * time.Second, Now: func() time.Time { return now }})
	g.stats(0, 0, 0, 0, 0)
	first := g.logIn()
	g.stats(1, 0, 0, 0, 0)
	_, second := g.post("token", refreshForm(first["refresh_token"]))
	g.stats(1, 1, 1, 0, 0)
	g.post("token", refreshForm(first["refresh_token"]))
	g.stats(1, 2, 1, 1, 0)

	// Refused ones count as requests; those that a fault answers or drops, and those of nobody, do not.
	g.post("token", refreshForm("unknown"))
	g.post("token", codeForm("unknown", newVerifier()))
	g.stats(2, 3, 1, 1, 0)
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Answer: &authtest.Response{Status: 503}})
	g.post("token", refreshForm(second["refresh_token"]))
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Wire: authtest.DropBefore})
	if _, err := g.http.Do(g.postRequest("token", refreshForm(second["refresh_token"]))); err == nil {
		t.Error("answered")
	}
	r := g.postRequest("token", refreshForm(second["refresh_token"]))
	r.SetBasicAuth("app", "wrong")
	g.do(r)
	g.stats(2, 3, 1, 1, 0)

	// An answer that is lost counts: the token was rotated.
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Wire: authtest.DropAfter})
	if _, err := g.http.Do(g.postRequest("token", refreshForm(second["refresh_token"]))); err == nil {
		t.Error("answered")
	}
	g.stats(2, 4, 2, 1, 0)

	// The grant ends once, however often its tokens come back.
	before := g.grant(first["access_token"])
	now = now.Add(30*time.Second + 1)
	for range 2 {
		g.post("token", refreshForm(second["refresh_token"]))
	}
	g.stats(2, 6, 2, 1, 1)
	want := before
	want.Revoked, want.Reused = now, true
	if got := g.as.Stats().Reused[0]; got != want || got != g.grant(second["refresh_token"]) {
		t.Errorf("%+v, want %+v", got, want)
	}
	// The caller's copy is its own.
	g.as.Stats().Reused[0].Subject = "mallory"
	if got := g.as.Stats().Reused[0]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestStatsWithoutRotation(t *testing.T) {
	g := newRig(t, authtest.Config{NoRotation: true})
	tokens := g.logIn()
	for range 3 {
		g.post("token", refreshForm(tokens["refresh_token"]))
	}
	g.stats(1, 3, 0, 0, 0)
}

func TestGrant(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, authtest.Config{Now: func() time.Time { return now }})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	fresh := g.grant(code)
	if fresh.ID == "" || fresh.ClientID != "app" || fresh.Subject != "user-alice" || fresh.Rotations != 0 || !fresh.Revoked.IsZero() || fresh.Reused {
		t.Errorf("%+v", fresh)
	}
	_, first := g.post("token", codeForm(code, verifier))
	if claims := g.verify(first["id_token"], "ES256"); claims["sid"] != fresh.SID || claims["sub"] != fresh.Subject {
		t.Errorf("%v, grant %+v", claims, fresh)
	}
	_, second := g.post("token", refreshForm(first["refresh_token"]))
	want := fresh
	want.Rotations = 1
	now = now.Add(365 * 24 * time.Hour) // long after all of it
	for _, token := range []any{code, first["access_token"], first["refresh_token"], second["access_token"], second["refresh_token"]} {
		if got := g.grant(token); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if g.as.Requests(authtest.Token) != 2 {
		t.Errorf("%d requests", g.as.Requests(authtest.Token))
	}

	// Another login is another grant; revoked is not reused.
	g.as.SetUser("user-bob")
	other := g.logIn()
	if got := g.grant(other["access_token"]); got.ID == fresh.ID || got.SID == fresh.SID || got.Subject != "user-bob" {
		t.Errorf("%+v", got)
	}
	g.post("revoke", map[string][]string{"token": {other["refresh_token"].(string)}})
	ended := g.grant(other["access_token"])
	if !ended.Revoked.Equal(now) || ended.Reused {
		t.Errorf("%+v", ended)
	}
	now = now.Add(time.Second)
	g.post("revoke", map[string][]string{"token": {other["refresh_token"].(string)}})
	if got := g.grant(other["access_token"]); got != ended {
		t.Errorf("revoked again: %+v, want %+v", got, ended)
	}

	for _, token := range []string{"", "unknown", code + "A", first["id_token"].(string)} {
		if got, ok := g.as.Grant(token); ok || got != (authtest.Grant{}) {
			t.Errorf("%q: %+v", token, got)
		}
	}
}

// A replayed code ends a grant, and is no reuse of a refresh token.
func TestCodeReplayIsNotReuse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	g.post("token", codeForm(code, verifier))
	g.post("token", codeForm(code, verifier))
	if got := g.grant(code); got.Revoked.IsZero() || got.Reused {
		t.Errorf("%+v", got)
	}
	g.stats(2, 0, 0, 0, 0)
}

// What a chaos test counts on: with many sessions at once and answers lost at random, each grant that ends is one
// whose answer was lost, and each request is accounted for.
func TestAccountsAddUp(t *testing.T) {
	const sessions, rounds = 50, 20
	users := make([]authtest.User, sessions)
	for i := range users {
		users[i].Subject = fmt.Sprintf("user-%d", i)
	}
	g := newRig(t, authtest.Config{Users: users})
	tokens := make([]map[string]any, sessions)
	for i := range tokens {
		tokens[i] = g.logIn("login_hint", users[i].Subject)
		if got := g.grant(tokens[i]["access_token"]).Subject; got != users[i].Subject {
			t.Fatalf("%s is logged in as %s", users[i].Subject, got)
		}
	}
	var mu sync.Mutex
	lost := map[string]bool{} // by grant
	chance := authtest.Chance(0.05, 1)
	stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.DropAfter,
		When: func(r *authtest.Request) bool {
			hit := chance(r)
			if hit {
				grant, _ := g.as.Grant(r.Form.Get("refresh_token"))
				mu.Lock()
				lost[grant.ID] = true
				mu.Unlock()
			}
			return hit
		}})
	var wg sync.WaitGroup
	for i := range tokens {
		refresh := tokens[i]["refresh_token"]
		wg.Go(func() {
			for range rounds {
				resp, err := g.http.Do(g.postRequest("token", refreshForm(refresh)))
				if err != nil {
					continue // and use it again: the mistake that this server is there to show
				}
				var answer map[string]any
				err = json.NewDecoder(resp.Body).Decode(&answer)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					return
				}
				refresh = answer["refresh_token"]
			}
		})
	}
	wg.Wait()
	stop()
	s := g.as.Stats()
	if len(lost) == 0 || len(lost) == sessions || len(s.Reused) == 0 {
		t.Fatalf("%d answers lost, %d grants ended: nothing was shown", len(lost), len(s.Reused))
	}
	refused := s.Refreshes - s.Rotations - s.Repeats
	if s.Refreshes != g.as.Requests(authtest.Token)-sessions || s.Exchanges != sessions || s.Repeats != 0 || refused < len(s.Reused) {
		t.Errorf("%+v, %d token requests", s, g.as.Requests(authtest.Token))
	}
	for _, grant := range s.Reused {
		if !lost[grant.ID] || !grant.Reused || !slices.ContainsFunc(users, func(u authtest.User) bool { return u.Subject == grant.Subject }) {
			t.Errorf("not accounted for: %+v", grant)
		}
	}
}
