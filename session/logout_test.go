package session

import (
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestLogout(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		state := ""
		br.do(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if state, err = b.SaveLogout(w, r); err != nil || len(state) != 43 {
				t.Fatal(state, err)
			}
		})
		name := br.names[0]
		refuse := func(br *browser, state string, code client.Code, reason string) {
			t.Helper()
			h := header{}
			wantError(t, b.TakeLogout(h, br.request(), state), code, reason)
			if h.wrote() {
				t.Fatal("something was written")
			}
		}
		refuse(br, "", client.ErrStateMissing, "")
		refuse(br, state+"x", client.ErrStateMismatch, "")
		refuse(newBrowser(t), state, client.ErrStateMismatch, "")
		broken := br.clone()
		broken.jar[name] = "x"
		refuse(broken, state, ErrCookie, "auth")
		h := header{}
		wantError(t, b.TakeLogout(h, get([]string{name + "=a; " + name + "=b"}), state), ErrCookie, "duplicate")
		old := br.clone()
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if err := b.TakeLogout(w, r, state); err != nil {
				t.Fatal(err)
			}
		})
		if len(br.jar) != 0 {
			t.Fatal("the cookie is left")
		}
		refuse(old, state, client.ErrStateReplayed, "")
		br.do(func(w http.ResponseWriter, r *http.Request) { state, _ = b.SaveLogout(w, r) })
		b.clock.add(10 * time.Minute)
		refuse(br, state, client.ErrStateExpired, "")
		br.do(func(w http.ResponseWriter, r *http.Request) { state, _ = b.SaveLogout(w, r) })
	})
}
