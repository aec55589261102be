package main

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/population"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
	"github.com/sallyport/sallyport/internal/benchmarks/stores"
	"github.com/sallyport/sallyport/session/redisstore"
)

// tokenRequest is the case without any session: what of a refresh is the client's.
const tokenRequest = "client.Refresh alone"

// refresh makes all numbers of sessions in each place, each in a Redis of its own, and measures what a refresh costs while
// all of them are there; and what their memory is after the login, when all have been refreshed, and when all have logged out.
func refresh(o options) error {
	issuer, err := child.Start("authorization-server", "", -1)
	if err != nil {
		return err
	}
	defer issuer.Stop()
	for _, p := range places {
		if err := refreshIn(o, p, issuer.Report[0]); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func refreshIn(o options, p place, issuer string) error {
	alone, err := tokenRequestCase(issuer)
	if err != nil {
		return err
	}
	cases := []measure.Case{alone}
	var memory []string
	var servers []*stores.Redis
	var all []*population.Population
	record := func(i int, when string) error {
		row, err := memoryRow(servers[i], all[i].Len(), when)
		memory = append(memory, row)
		return err
	}
	for i, n := range o.sessions {
		server, err := stores.StartRedis()
		if err != nil {
			return err
		}
		defer server.Stop()
		store, err := redisstore.Open(server.URL())
		if err != nil {
			return err
		}
		defer store.Close()
		users, err := population.New(issuer, p.config(store), n)
		if err != nil {
			return err
		}
		servers, all = append(servers, server), append(all, users)
		if err := record(i, "login"); err != nil {
			return err
		}
		cases = append(cases, measure.Case{Name: sessionsOf(n), Run: users.Refresh, Server: server.CPU})
	}
	series, err := measure.Interleave(cases, o.rounds, o.batch)
	if err != nil {
		return err
	}
	fmt.Printf("\n## Refreshes, %s\n\n%s", p.name, refreshTable(series))
	for i, users := range all {
		if err := users.RefreshAll(); err != nil {
			return err
		}
		settle()
		if err := record(i, "refresh"); err != nil {
			return err
		}
		if err := users.Logout(); err != nil {
			return err
		}
		settle()
		if err := record(i, "logout"); err != nil {
			return err
		}
	}
	fmt.Printf("\n## Memory in Redis, %s\n\n| sessions | after | keys a session | bytes a session | resident | session's record: value | whole | roster's: value | whole |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|\n", p.name)
	for _, row := range memory {
		fmt.Println(row)
	}
	return nil
}

func sessionsOf(n int) string { return fmt.Sprintf("%d sessions", n) }

func tokenRequestCase(issuer string) (measure.Case, error) {
	app, err := logins.NewApplication(issuer, client.Config{}, withKeys(places[0].config(nil)))
	if err != nil {
		return measure.Case{}, err
	}
	t, err := sessions.TokensOf(0)
	return measure.Case{Name: tokenRequest, Run: func(n int) error {
		return measure.Concurrently(population.Workers, n, func(_, n int) error {
			for range n {
				if _, err := app.Client.Refresh(background, t); err != nil {
					return err
				}
			}
			return nil
		})
	}}, err
}

func memoryRow(r *stores.Redis, n int, when string) (string, error) {
	m, err := r.Memory()
	if err != nil {
		return "", err
	}
	kinds, err := r.Kinds()
	s, l, per := kinds['s'], kinds['r'], 1/float64(n)
	return fmt.Sprintf("| %d | %s | %.1f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |", n, when, float64(m.Keys)*per, float64(m.Used)*per, float64(m.Resident)*per,
		s.Value, s.Whole, l.Value, l.Whole), err
}

// refreshTable has what a refresh costs the application and the server, and how many a second a core of each carries.
func refreshTable(all []measure.Series) string {
	out := "| | CPU µs | server CPU µs | wall µs | allocs | a second and core of the application | a second and core of the server | a second, by the clock |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"
	rate := func(ns float64) string {
		if ns < 1 {
			return ""
		}
		return fmt.Sprintf("%.0f", float64(time.Second)/ns)
	}
	for i := range all {
		s := &all[i]
		cpu, server, wall := s.Median(measure.CPU), s.Median(measure.Server), s.Median(measure.Wall)
		out += fmt.Sprintf("| %s | %s | %s | %s | %.0f | %s | %s | %s |\n", s.Name, measure.Number(cpu/1e3), measure.Number(server/1e3), measure.Number(wall/1e3),
			s.Median(measure.Allocs), rate(cpu), rate(server), rate(wall))
	}
	first, last := &all[1], &all[len(all)-1]
	r, sr := last.Over(first, measure.CPU), last.Over(first, measure.Server)
	return out + fmt.Sprintf("\n%s over %s: application %s × (IQR %s), server %s × (IQR %s).\n", last.Name, first.Name,
		measure.Number(r.Median), measure.Number(r.IQR), measure.Number(sr.Median), measure.Number(sr.IQR))
}
