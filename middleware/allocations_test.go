//go:build !race

package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Pools forget at random under the race detector, so that counting says nothing there.

func TestAllocations(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	r := with("GET", rp+"/x", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
	for name, v := range br.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	load := testing.AllocsPerRun(200, func() {
		if _, err := b.auth.sessions.Load(r); err != nil {
			t.Fatal(err)
		}
	})
	h := b.auth.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	rec := httptest.NewRecorder()
	all := testing.AllocsPerRun(200, func() { h.ServeHTTP(rec, r) })
	if all > load+2 {
		t.Errorf("%.0f allocations, %.0f of them to load the session: more than two of our own", all, load)
	}
}
