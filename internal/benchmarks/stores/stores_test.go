package stores

import (
	"errors"
	"maps"
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
)

func started(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, backing.ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSince(t *testing.T) {
	before := Commands{"get": 5, "getrange": 7, "evalsha": 7, "set": 7, "info": 1}
	after := Commands{"get": 6, "getrange": 10, "evalsha": 8, "eval": 1, "set": 9, "setrange": 2, "time": 2, "info": 2, "del": 3}
	// Of the three getranges two are the scripts'.
	want := Commands{"get": 1, "getrange": 1, "evalsha": 1, "eval": 1, "del": 3}
	if got := after.Since(before); !maps.Equal(got, want) || got.Trips() != 7 || after.Written(before) != 2 {
		t.Errorf("%v, %d trips, %d writes", got, got.Trips(), after.Written(before))
	}
}

// Each way writes each time, and says so if it did not: the versions go up.
func testSwaps(t *testing.T, cases []measure.Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(3*Workers + 1); err != nil {
				t.Error(err)
			}
			if used, err := c.Server(); err != nil || used < 0 {
				t.Errorf("%v, %v", used, err)
			}
		})
	}
}

func TestRedis(t *testing.T) {
	r, err := StartRedis()
	started(t, err)
	defer r.Stop()
	cases, err := RedisSwaps(r)
	if err != nil {
		t.Fatal(err)
	}
	testSwaps(t, cases)
	before, err := r.Commands()
	if err != nil {
		t.Fatal(err)
	}
	if err := cases[len(cases)-1].Run(10); err != nil {
		t.Fatal(err)
	}
	after, err := r.Commands()
	if sent := after.Since(before); err != nil || sent["evalsha"] != 10 || sent.Trips() != 10 || after.Written(before) != 10 {
		t.Errorf("ten swaps send %v, %v", sent, err)
	}
	m, err := r.Memory()
	if err != nil || m.Keys != 3*Workers || m.Used < 3*Workers*int64(len(value)) || m.Resident < m.Used {
		t.Errorf("%+v, %v", m, err)
	}
	kinds, err := r.Kinds()
	if k := kinds['s']; err != nil || k.Keys != Workers || k.Value != float64(8+len(value)) || k.Whole <= k.Value {
		t.Errorf("%+v, %v", kinds, err)
	}
	if used, err := r.CPU(); err != nil || used <= 0 {
		t.Errorf("%v, %v", used, err)
	}
}

func TestPostgres(t *testing.T) {
	p, err := StartPostgres(Workers)
	started(t, err)
	defer p.Stop()
	cases, err := PostgresSwaps(p)
	if err != nil {
		t.Fatal(err)
	}
	testSwaps(t, cases)
	before := p.Statements()
	if err := cases[1].Run(10); err != nil {
		t.Fatal(err)
	}
	if n := p.Statements() - before; n != 10 {
		t.Errorf("ten swaps are %d statements", n)
	}
}
