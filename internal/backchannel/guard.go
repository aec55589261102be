package backchannel

import (
	"errors"
	"net/netip"
	"syscall"
)

// errAddress is how the guard's refusal is found again under the errors of net.
var errAddress = errors.New("backchannel: address not allowed")

// guard refuses connections into the network that this process runs in. A
// metadata document names the endpoints, and whoever can make us read another
// one would otherwise choose which of our neighbours gets our requests.
//
// It looks at the address that the socket is about to connect to, after every
// name has been resolved: no spelling of an address and no second answer of a
// name server gets past it.
type guard struct {
	allowLoopback, allowPrivate bool
}

// control is a net.Dialer's Control.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !g.allows(ap.Addr()) {
		return errAddress
	}
	return nil
}

// special are addresses that are not, or not safely, on the public internet,
// besides those that netip.Addr knows by itself. Source: the IANA registries of
// special-purpose addresses (RFC 6890).
var special = prefixes(
	"0.0.0.0/8",       // this network, RFC 791; Linux connects 0.0.0.0 to itself
	"192.0.0.0/24",    // protocol assignments, RFC 6890; a metadata service
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved, RFC 1112; broadcast

	"2001::/23",     // protocol assignments, RFC 2928; Teredo, which hides an IPv4 address
	"2001:db8::/32", // documentation, RFC 3849
	"3fff::/20",     // documentation, RFC 9637
)

// private is what AllowPrivate permits in addition to netip.Addr.IsPrivate.
var private = prefixes(
	"100.64.0.0/10", // carrier-grade NAT, RFC 6598
)

// metadata are services that hand out a machine's credentials to whoever asks
// from it, at addresses that are private or public and not link-local.
var metadata = prefixes(
	"100.100.100.200/32", // Alibaba Cloud
	"168.63.129.16/32",   // Azure
	"fd00:ec2::254/128",  // AWS
	"fd20:ce::254/128",   // Google Cloud
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")     // RFC 4291 §2.4: all of IPv6 that is in use
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour     = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

func (g guard) allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	// An IPv6 address that leads to an IPv4 address is as good as that one.
	if b := a.As16(); nat64.Contains(a) {
		return g.allows(netip.AddrFrom4([4]byte(b[12:16])))
	} else if sixToFour.Contains(a) {
		return g.allows(netip.AddrFrom4([4]byte(b[2:6])))
	}
	switch {
	case a.IsLoopback():
		return g.allowLoopback
	case in(metadata, a):
		return false
	case a.IsPrivate(), in(private, a):
		return g.allowPrivate
	case !a.IsGlobalUnicast(), in(special, a): // also unspecified, link-local, multicast
		return false
	}
	return a.Is4() || globalUnicast.Contains(a)
}

func in(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
