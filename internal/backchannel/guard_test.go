package backchannel

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	// ATK-D04: which addresses are let through, whatever form they take.
	const (
		never      = 0
		atLoopback = 1 << iota
		atPrivate
		always = 1
	)
	for address, when := range map[string]int{
		"93.184.216.34": always, "8.8.8.8": always, "1.1.1.1": always, "172.15.255.255": always, "172.32.0.0": always,
		"100.63.255.255": always, "100.128.0.0": always, "169.253.0.1": always, "223.255.255.255": always,
		"2606:4700::1111": always, "2a00:1450:4001::1": always, "2001:4860:4860::8888": always,
		"64:ff9b::8.8.8.8": always, "2002:808:808::1": always, "::ffff:8.8.8.8": always,

		"127.0.0.1": atLoopback, "127.255.255.254": atLoopback, "127.1.2.3": atLoopback, "::1": atLoopback,
		"::ffff:127.0.0.1": atLoopback, "64:ff9b::127.0.0.1": atLoopback, "2002:7f00:1::": atLoopback,

		"10.0.0.1": atPrivate, "172.16.0.1": atPrivate, "172.31.255.255": atPrivate, "192.168.1.1": atPrivate,
		"100.64.0.1": atPrivate, "100.127.255.255": atPrivate, "fc00::1": atPrivate, "fdff::1": atPrivate,
		"::ffff:10.0.0.1": atPrivate, "::ffff:100.64.0.1": atPrivate,
		"64:ff9b::10.0.0.1": atPrivate, "2002:a00:1::1": atPrivate, "2002:c0a8:101::": atPrivate,

		"0.0.0.0": never, "0.1.2.3": never, "::": never, "::ffff:0.0.0.0": never, "64:ff9b::0.0.0.0": never,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "64:ff9b::169.254.169.254": never,
		"2002:a9fe:a9fe::": never, "fe80::1": never, "fe80::1%eth0": never, "169.254.0.1": never,
		"100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never, "fd00:ec2::254": never, "fd20:ce::254": never,
		"224.0.0.1": never, "239.1.1.1": never, "ff02::1": never, "ff05::1": never,
		"240.0.0.1": never, "255.255.255.255": never, "192.0.2.1": never, "198.18.0.1": never, "198.19.255.255": never,
		"198.51.100.1": never, "203.0.113.1": never, "192.88.99.1": never,
		"::127.0.0.1": never, "::8.8.8.8": never, "::2": never, "64:ff9b:1::7f00:1": never, "64:ff9b:1::808:808": never,
		"2001::1": never, "2001:0:4136:e378:8000:63bf:3fff:fdd2": never, "2001:db8::1": never, "3fff::1": never,
		// A zone does not hide an address from the lists.
		"fd00:ec2::254%eth0": never, "2001:db8::1%eth0": never, "64:ff9b::7f00:1%eth0": atLoopback, "2606:4700::1111%eth0": always,
		"fec0::1": never, "100::1": never, "4000::1": never, "5f00::1": never, "::ffff:0:127.0.0.1": never,
	} {
		t.Run(address, func(t *testing.T) {
			a := netip.MustParseAddr(address)
			for _, g := range []guard{{}, {allowLoopback: true}, {allowPrivate: true}, {true, true}} {
				want := when == always ||
					when&atLoopback != 0 && g.allowLoopback ||
					when&atPrivate != 0 && g.allowPrivate
				if got := g.allows(a); got != want {
					t.Errorf("%+v allows it: %v, want %v", g, got, want)
				}
				err := g.control("tcp", netip.AddrPortFrom(a, 443).String(), nil)
				if (err == nil) != want {
					t.Errorf("%+v: control = %v", g, err)
				}
			}
		})
	}
	if err := (guard{true, true}).control("tcp", "not an address", nil); err == nil {
		t.Error("an address that cannot be read is let through")
	}
}

func TestGuardAtTheSocket(t *testing.T) {
	// ATK-D04: through the whole client, on names and numbers that lead here.
	// Nothing is dialled, there is no second attempt, and nothing is in doubt.
	url, conns := listen(t, func(_ int, p *peer) {
		if _, _, err := p.request(); err == nil {
			p.answer(200, "ok")
		}
	})
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]", "10.255.255.1",
		"169.254.169.254", "100.64.0.1", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]",
	} {
		for _, class := range []Class{OneTimeGrant, RefreshGrant, Idempotent} {
			for _, scheme := range []string{"http://", "https://"} {
				c := New(Config{})
				_, err := c.Do(newRequest(t, class, scheme+host+":"+port+"/x"), class, 0)
				wantError(t, err, KindAddress, false)
			}
		}
	}
	if n := conns.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	resp, err := loopback(t, Config{}).Do(newGrant(t, url), OneTimeGrant, 0)
	wantBody(t, resp, err, 200, "ok")
}

func TestGuardSeesEveryAnswerOfTheResolver(t *testing.T) {
	// ATK-D04: rebinding. The name is resolved once per dial, by the dialer, and
	// the guard looks at the outcome: a first, harmless answer opens no door.
	url, conns := listen(t, func(_ int, p *peer) {
		if _, _, err := p.request(); err == nil {
			p.answer(200, "ok", "Connection: close")
		}
	})
	target := strings.TrimPrefix(url, "http://")
	g := guard{}
	resolved := []string{target, target}
	c := New(Config{})
	c.base.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		// What the dialer does once it has the resolver's next answer.
		next := resolved[0]
		resolved = resolved[1:]
		return (&net.Dialer{Control: g.control}).DialContext(ctx, network, next)
	}
	g.allowLoopback = true // as if the first answer had been a public address
	resp, err := c.Do(newGrant(t, "http://rebind.example/token"), OneTimeGrant, 0)
	wantBody(t, resp, err, 200, "ok")
	g.allowLoopback = false
	_, err = c.Do(newGrant(t, "http://rebind.example/token"), OneTimeGrant, 0)
	wantError(t, err, KindAddress, false)
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
