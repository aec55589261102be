package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/population"
	"github.com/sallyport/sallyport/internal/benchmarks/stores"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/redisstore"
)

// operations counts what is sent to a Redis: see stores.Commands. Each has been done before, so that neither the script nor
// the question whether every session was ended (once in five seconds and process) is in it.
func operations(options) error {
	fmt.Printf("\n## Commands sent to Redis\n\n| | %s | %s |\n|---|---:|---:|\n", places[0].name, places[1].name)
	rows := map[string][]string{}
	var order []string
	var targets []measure.Target
	for _, p := range places {
		all, err := counted(p)
		if err != nil {
			return err
		}
		for _, c := range all {
			if rows[c.what] == nil {
				order = append(order, c.what)
			}
			rows[c.what] = append(rows[c.what], describe(c.sent))
			switch c.what {
			case request:
				targets = append(targets, measure.Target{What: p.name + ": commands a request", Bound: 1, Got: float64(c.sent.Trips())})
			case refreshing:
				targets = append(targets, measure.Target{What: p.name + ": commands a refresh, beyond the read", Bound: 3, Got: float64(c.sent.Trips() - 1)})
			}
		}
	}
	for _, what := range order {
		fmt.Printf("| %s | %s |\n", what, strings.Join(rows[what], " | "))
	}
	fmt.Printf("\n%s", measure.Targets(targets))
	return nil
}

const request, refreshing = "request", "request that refreshes"

type count struct {
	what string
	sent stores.Commands
}

// counted does each thing once in a place.
func counted(p place) (all []count, err error) {
	server, err := stores.StartRedis()
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	issuer, err := child.Start("authorization-server", "", -1)
	if err != nil {
		return nil, err
	}
	defer issuer.Stop()
	store, err := redisstore.Open(server.URL())
	if err != nil {
		return nil, err
	}
	defer store.Close()
	app, err := logins.NewApplication(issuer.Report[0], client.Config{}, withKeys(p.config(store)))
	if err != nil {
		return nil, err
	}
	browser, err := logins.NewBrowser(issuer.Report[0])
	if err != nil {
		return nil, err
	}
	defer browser.Close()
	flow := app.Flow()
	if err := flow.Login(browser); err != nil {
		return nil, err
	}
	one := func(what string, do func() error) {
		if err != nil {
			return
		}
		var before, after stores.Commands
		if before, err = server.Commands(); err != nil {
			return
		}
		if err = do(); err != nil {
			return
		}
		settle()
		if after, err = server.Commands(); err == nil {
			all = append(all, count{what, after.Since(before)})
		}
	}
	one("login, without a sid", func() error { return flow.Login(browser) })
	if err != nil {
		return nil, err
	}
	users, err := population.New(issuer.Report[0], p.config(store), 2)
	if err != nil {
		return nil, err
	}
	if err := users.Request(2); err != nil {
		return nil, err
	}
	one(request, func() error { return users.Request(1) })
	if err := users.Refresh(1); err != nil {
		return nil, err
	}
	one(refreshing, func() error { return users.Refresh(1) })
	one("request after it", func() error { return users.Request(1) })
	one("logout", users.LogoutFirst)
	if err == nil && !users.Gone() {
		err = fmt.Errorf("a session lives on after its logout")
	}
	one("request after it, refused", func() error { users.Gone(); return nil })
	return all, err
}

func withKeys(c session.Config) session.Config {
	c.Keys = [][]byte{session.GenerateKey()}
	return c
}

// describe names the commands that were sent: gets are reads, scripts are swaps.
func describe(sent stores.Commands) string {
	names := map[string]string{"get": "reads", "evalsha": "swaps", "eval": "swaps"}
	var parts []string
	for name, n := range sent {
		if names[name] == "" {
			names[name] = name
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, names[name]))
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d: %s", sent.Trips(), strings.Join(parts, ", "))
}
