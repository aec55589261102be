package measure

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func series(name string, cpu ...float64) Series {
	s := Series{Name: name}
	for _, c := range cpu {
		s.Samples = append(s.Samples, Sample{CPU: c, Wall: 2 * c, Allocs: 3, Bytes: 5})
	}
	return s
}

func TestOver(t *testing.T) {
	// The machine was three times slower in the second round and hiccuped once in the last of base.
	base := series("base", 10, 30, 10, 40)
	s := series("s", 20, 60, 20, 20)
	r := s.Over(&base, CPU)
	if r.Median != 2 || r.Minima != 2 {
		t.Fatalf("%+v", r)
	}
	if want := 2 - (0.5 + 0.75*1.5); math.Abs(r.IQR-want) > 1e-9 { // quartiles of 0.5, 2, 2, 2
		t.Fatalf("IQR %v, want %v", r.IQR, want)
	}
	zero := series("zero", 0, 0)
	if r := s.Over(&zero, CPU); r != (Ratio{}) {
		t.Fatalf("over nothing: %+v", r)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		n    int
		want float64
	}{{nil, 2, 0}, {[]float64{7}, 3, 7}, {[]float64{3, 1}, 2, 2}, {[]float64{5, 1, 3}, 2, 3}, {[]float64{4, 3, 2, 1, 0}, 1, 1}, {[]float64{4, 3, 2, 1, 0}, 4, 4}} {
		if got := quantile(c.v, c.n); got != c.want {
			t.Errorf("quartile %d of %v: %v, want %v", c.n, c.v, got, c.want)
		}
	}
}

func TestInterleave(t *testing.T) {
	var order []string
	measuring := false
	one := func(name string) Case {
		return Case{Name: name, Run: func(n int) error {
			if measuring {
				order = append(order, name)
			}
			for range n { // enough work for a clock of 1 ms
				sum := 0
				for i := range 200_000 {
					sum += i * i
				}
				sink = make([]byte, 64+sum&1)
			}
			return nil
		}}
	}
	a, b := one("a"), one("b")
	last := b.Run
	b.Run = func(n int) error { err := last(n); measuring = measuring || n > 1; return err }
	all, err := Interleave([]Case{a, b}, 4, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || len(all[0].Samples) != 4 || len(all[1].Samples) != 4 || Find(all, "b") != &all[1] || Find(all, "c") != nil {
		t.Fatalf("%+v", all)
	}
	for _, s := range all {
		if m := s.Median(Allocs); m < 1 || s.Median(CPU) <= 0 || s.Min(Wall) <= 0 || s.Median(Bytes) < 1 {
			t.Errorf("%s: %v allocations, %v ns of CPU", s.Name, m, s.Median(CPU))
		}
	}
	if tail := strings.Join(order[max(0, len(order)-8):], ""); tail != "abbaabba" {
		t.Errorf("order %s: each round begins with another case", tail)
	}
	broken := errors.New("broken")
	if _, err := Interleave([]Case{{Name: "x", Run: func(int) error { return broken }}}, 1, time.Millisecond); !errors.Is(err, broken) {
		t.Error(err)
	}
	calls := 0
	if _, err := Interleave([]Case{{Name: "x", Run: func(int) error {
		if calls++; calls > 30 {
			return broken
		}
		return nil
	}}}, 30, time.Nanosecond); !errors.Is(err, broken) {
		t.Error("an error after the first rounds is lost:", err)
	}
}

var sink []byte

func TestTable(t *testing.T) {
	all := []Series{series("base", 1000, 1000), series("ours", 1500, 1500)}
	got := Table(all, "base", "cookie B", func(name string) string { return name[:1] })
	want := "| | CPU µs | wall µs | B/op | allocs | cookie B | × base (CPU) | minima | IQR | × (wall) |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n" +
		"| base | 1.00 | 2.00 | 5 | 3.00 | b | 1.00 | 1.00 | 0.00 | 1.00 |\n| ours | 1.50 | 3.00 | 5 | 3.00 | o | 1.50 | 1.50 | 0.00 | 1.50 |\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Table(all, "nothing", "", nil); !strings.Contains(got, "| ours | 1.50 | 3.00 | 5 | 3.00 | | | | |\n") {
		t.Error(got)
	}
	for f, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 1234.5: "1234"} {
		if got := Number(f); got != want {
			t.Errorf("Number(%v) = %s, want %s", f, got, want)
		}
	}
}

func TestTargets(t *testing.T) {
	for name, c := range map[string]struct {
		target  Target
		met     bool
		verdict string
	}{
		"at most, held":        {Target{Bound: 1.5, Got: 1.5}, true, "PASS"},
		"at most, missed":      {Target{Bound: 1.5, Got: 1.51, Minima: 1.6}, false, "FAIL"},
		"at least, held":       {Target{Bound: 8, AtLeast: true, Got: 9, Minima: 8}, true, "PASS"},
		"at least, missed":     {Target{Bound: 8, AtLeast: true, Got: 7.9}, false, "FAIL"},
		"held, but in doubt":   {Target{Bound: 1.5, Got: 1.4, Minima: 1.6}, true, "PASS (minima disagree)"},
		"missed, but in doubt": {Target{Bound: 1.5, Got: 1.6, Minima: 1.4}, false, "FAIL (minima disagree)"},
		"not measured":         {Target{Bound: 1.5, Missing: "no wrk"}, false, "not measured: no wrk"},
	} {
		if c.target.Met() != c.met || c.target.verdict() != c.verdict {
			t.Errorf("%s: %v, %s", name, c.target.Met(), c.target.verdict())
		}
	}
	got := Targets([]Target{{What: "a", Bound: 1.5, Unit: "×", Got: 1.25, Minima: 1.5}, {What: "b", Bound: 8, AtLeast: true, Missing: "no wrk"}})
	want := "| target | bound | median of rounds | minima | |\n|---|---:|---:|---:|---|\n| a | ≤ 1.50 × | 1.25 | 1.50 | PASS |\n| b | ≥ 8.00  | – | – | not measured: no wrk |\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestServer(t *testing.T) {
	used := time.Duration(0)
	c := Case{Name: "x", Run: func(n int) error { used += time.Duration(n) * 7; return nil }, Server: func() (time.Duration, error) { return used, nil }}
	s, err := once(c, 100)
	if err != nil || s.Server != 7 || Both(s) != s.CPU+7 {
		t.Errorf("%+v, %v", s, err)
	}
	broken := errors.New("broken")
	c.Server = func() (time.Duration, error) { return 0, broken }
	if _, err := once(c, 1); err != broken {
		t.Error(err)
	}
}

func TestLess(t *testing.T) {
	bare, floor, ours := series("bare", 10, 100), series("floor", 20, 200), series("ours", 25, 250)
	f, o := floor.Less(&bare), ours.Less(&bare)
	if r := o.Over(&f, CPU); r.Median != 1.5 || f.Median(Wall) != 110 || o.Name != "ours" {
		t.Errorf("%+v of %+v: %+v", o, f, r)
	}
}

func TestConcurrently(t *testing.T) {
	for _, c := range [][2]int{{3, 10}, {16, 5}, {1, 7}} {
		shares := make([]int, c[0])
		broken := errors.New("broken")
		err := Concurrently(c[0], c[1], func(w, n int) error {
			if shares[w] += n; w == 0 {
				return broken
			}
			return nil
		})
		sum, most := 0, 0
		for _, n := range shares {
			sum, most = sum+n, max(most, n)
		}
		if sum != c[1] || most > c[1]/c[0]+1 || !errors.Is(err, broken) {
			t.Errorf("%v: %v, %v", c, shares, err)
		}
	}
}
