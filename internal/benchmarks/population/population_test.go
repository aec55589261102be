package population

import (
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/redisstore"
)

func TestMain(m *testing.M) {
	if child.Main(map[string]child.Role{"authorization-server": logins.Server}) {
		return
	}
	os.Exit(m.Run())
}

func issuer(t testing.TB) string {
	t.Helper()
	p, err := child.Start("authorization-server", "", -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p.Report[0]
}

// places are where sessions live.
func places(store session.Store) map[string]session.Config {
	return map[string]session.Config{"Store": {Store: store}, "Coordination": {Coordination: store}, "memory": {}}
}

func TestPopulation(t *testing.T) {
	server := issuer(t)
	for name, cfg := range places(session.NewMemory(session.MemoryOptions{})) {
		t.Run(name, func(t *testing.T) {
			const n = 20
			p, err := New(server, cfg, n)
			if err != nil {
				t.Fatal(err)
			}
			refreshed := func() int { return int(p.app.Manager.Counters().Refreshed) }
			step := func(what string, do func() error, want int) {
				t.Helper()
				before := refreshed()
				if err := do(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := refreshed() - before; got != want {
					t.Errorf("%s: %d refreshes, want %d", what, got, want)
				}
			}
			step("requests", func() error { return p.Request(n) }, 0)
			step("refresh", func() error { return p.Refresh(n) }, n)
			step("requests", func() error { return p.Request(n) }, 0)
			step("one and a half turns", func() error { return p.Refresh(n + n/2) }, n+n/2)
			step("all", p.RefreshAll, n)
			if p.Gone() {
				t.Error("a session is gone before its logout")
			}
			step("logout", p.Logout, 0)
			if !p.Gone() || p.Request(1) == nil {
				t.Error("a session lives on after its logout")
			}
		})
	}
}

func BenchmarkRefresh(b *testing.B) {
	server := issuer(b)
	store, err := redisstore.Open(backing.RedisForTest(b).URL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	for name, cfg := range places(store) {
		b.Run(name, func(b *testing.B) {
			p, err := New(server, cfg, 200)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := p.Refresh(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
}
