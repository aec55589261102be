package main

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
)

// read is a logged-in request through a handler, and one with a cookie that must not be let in.
func read(o options) ([]measure.Target, error) {
	var cases []measure.Case
	sizes := map[string]int{}
	for _, k := range sessions.All() {
		if k.Name == sessions.SallyportSave { // a write
			continue
		}
		s, err := k.New()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		sizes[k.Name] = s.CookieSize()
		cases = append(cases, measure.Case{Name: k.Name, Run: s.Read})
		for _, f := range s.Forgeries {
			cases = append(cases, measure.Case{Name: k.Name + ", " + f.Name, Run: func(n int) error { return s.Refused(n, f.Cookies) }})
		}
	}
	all, err := measure.Interleave(cases, o.rounds, o.batch)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## Read: one request through a handler\n\n%s", measure.Table(all, sessions.Floor, "cookie B", func(name string) string {
		if n := sizes[name]; n > 0 {
			return fmt.Sprint(n)
		}
		return ""
	}))
	targets := []measure.Target{
		ratio(all, "read, over the floor", sessions.Sallyport, sessions.Floor, measure.CPU, 1.5),
		{What: "read, allocations", Bound: 4, Got: measure.Find(all, sessions.Sallyport).Median(measure.Allocs)},
		faster(all, "read, faster than gorilla/sessions", sessions.Sallyport, sessions.GorillaSessions, 8),
		ratio(all, "read with the second of three keys, over the first", sessions.SallyportKey2, sessions.SallyportKey1, measure.CPU, 1.1),
		ratio(all, "read with the third of three keys, over the first", sessions.SallyportKey3, sessions.SallyportKey1, measure.CPU, 1.1),
	}
	for _, f := range sessions.ForgeryNames {
		targets = append(targets, ratio(all, "forged: "+f+", over a good one", sessions.Sallyport+", "+f, sessions.Sallyport, measure.CPU, 1.1))
	}
	return append(targets,
		measure.Target{What: "cookie of the record", Bound: 2400, Unit: "B", Got: float64(sizes[sessions.Sallyport])},
		ratio(all, "read with SecureCookie, over securecookie + binary Serializer", sessions.SallyportSecureCookie, sessions.SecureCookiePlus, measure.CPU, 1.2),
	), nil
}

// write is the session sealed and set in a response.
func write(o options) ([]measure.Target, error) {
	var cases []measure.Case
	for _, k := range sessions.All() {
		s, err := k.New()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		if s.Write != nil {
			cases = append(cases, measure.Case{Name: k.Name, Run: s.Store})
		}
	}
	all, err := measure.Interleave(cases, o.rounds, o.batch)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## Write: the session sealed anew\n\n%s", measure.Table(all, sessions.Floor, "", nil))
	return []measure.Target{
		ratio(all, "write of a session that exists, over the floor's encode", sessions.SallyportSave, sessions.Floor, measure.CPU, 1.5),
		ratio(all, "write of a new session, over the same", sessions.Sallyport, sessions.Floor, measure.CPU, 1.5),
	}, nil
}
