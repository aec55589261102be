package logins

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
)

func TestMain(m *testing.M) {
	if child.Main(map[string]child.Role{"authorization-server": Server}) {
		return
	}
	os.Exit(m.Run())
}

func server(t testing.TB) (issuer string, browser *Browser) {
	t.Helper()
	p, err := child.Start("authorization-server", "", -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	b, err := NewBrowser(p.Report[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return p.Report[0], b
}

func TestEachPeerLogsIn(t *testing.T) {
	issuer, browser := server(t)
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			f, err := p.New(issuer)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first fetches metadata and keys
				if err := f.Login(browser); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestEachPeerRefusesAForgedCallback(t *testing.T) {
	issuer, browser := server(t)
	for _, p := range All() {
		if p.Name == Floor {
			continue // checks no state
		}
		t.Run(p.Name, func(t *testing.T) {
			f, err := p.New(issuer)
			if err != nil {
				t.Fatal(err)
			}
			callback, cookies, err := f.begin(browser)
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(callback, "state=") + len("state=")
			other := "A"
			if callback[at] == 'A' {
				other = "B"
			}
			if f.finish(callback[:at]+other+callback[at+1:], cookies) {
				t.Error("logged in with another state")
			}
			if cookies != "" && f.finish(callback, "") {
				t.Error("logged in without the browser's cookies")
			}
		})
	}
}

func TestTheServerHoldsItsClientsToTheirCode(t *testing.T) {
	// A server that took anything would make a client look right that sends nothing.
	issuer, browser := server(t)
	f, err := handWired(issuer, false, false)
	if err != nil {
		t.Fatal(err)
	}
	callback, cookies, err := f.begin(browser)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(callback, "code=") + len("code=")
	if f.finish(callback[:at]+"x"+callback[at+1:], cookies) {
		t.Error("logged in with another code")
	}
	if !f.finish(callback, cookies) {
		t.Fatal("the code itself does not work")
	}
	if f.finish(callback, cookies) {
		t.Error("a code worked twice")
	}
	if _, err := browser.follow(issuer + "/authorize?client_id=somebody"); err == nil {
		t.Error("an unknown client was sent somewhere")
	}
	resp, err := http.Post(issuer+"/token", "application/x-www-form-urlencoded", strings.NewReader("grant_type=password"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another grant: %d", resp.StatusCode)
	}
}

func BenchmarkLogin(b *testing.B) {
	issuer, browser := server(b)
	for _, p := range All() {
		b.Run(p.Name, func(b *testing.B) {
			f, err := p.New(issuer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := f.Login(browser); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
