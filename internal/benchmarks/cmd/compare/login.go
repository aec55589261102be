package main

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
)

// login is a whole login; the authorization server is a process of its own.
func login(o options) ([]measure.Target, error) {
	server, err := child.Start("authorization-server", "", -1)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	issuer := server.Report[0]
	browser, err := logins.NewBrowser(issuer)
	if err != nil {
		return nil, err
	}
	defer browser.Close()
	var cases []measure.Case
	for _, p := range logins.All() {
		flow, err := p.New(issuer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		cases = append(cases, measure.Case{Name: p.Name, Run: func(n int) error {
			for range n {
				if err := flow.Login(browser); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	all, err := measure.Interleave(cases, o.rounds, 2*o.batch)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## Login: code, PKCE, %s ID token\n\n%s", "ES256", measure.Table(all, logins.HandWired, "", nil))
	return []measure.Target{
		ratio(all, "login, CPU over x/oauth2 + go-oidc by hand", logins.Sallyport, logins.HandWired, measure.CPU, 1),
		ratio(all, "login, allocations over the same", logins.Sallyport, logins.HandWired, measure.Allocs, 1),
	}, nil
}
