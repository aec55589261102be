package client

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// pendingVersion is the first byte of the binary form.
const pendingVersion = 1

var errPending = errors.New("sallyport: not a pending login")

const (
	flagIssRequired = 1 << iota
	flagMaxAge
)

// AppendBinary appends what the callback will need: everything but the URL. The
// result holds secrets and must be sealed.
func (r *AuthorizationRequest) AppendBinary(b []byte) ([]byte, error) {
	var flags byte
	if r.issRequired {
		flags |= flagIssRequired
	}
	if r.maxAgeAsked {
		flags |= flagMaxAge
	}
	b = append(b, pendingVersion, flags)
	b = binary.AppendUvarint(b, uint64(max(r.created.UnixMilli(), 0)))
	b = binary.AppendUvarint(b, uint64(r.maxAge/time.Second))
	for _, s := range [...]string{r.state, r.nonce, r.verifier, r.issuer, r.clientID, r.redirectURI} {
		b = appendString(b, s)
	}
	for _, l := range [...][]string{r.scopes, r.acrValues, r.resource} {
		b = binary.AppendUvarint(b, uint64(len(l)))
		for _, s := range l {
			b = appendString(b, s)
		}
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote. It does not keep data.
func (r *AuthorizationRequest) UnmarshalBinary(data []byte) error {
	if len(data) < 2 || data[0] != pendingVersion {
		return errPending
	}
	d := &decoder{b: data[2:]}
	p := pendingLogin{issRequired: data[1]&flagIssRequired != 0, maxAgeAsked: data[1]&flagMaxAge != 0}
	p.created = time.UnixMilli(int64(d.uvarint()))
	seconds := d.uvarint()
	if seconds > uint64(math.MaxInt64/time.Second) {
		return errPending
	}
	p.maxAge = time.Duration(seconds) * time.Second
	for _, s := range [...]*string{&p.state, &p.nonce, &p.verifier, &p.issuer, &p.clientID, &p.redirectURI} {
		*s = d.string()
	}
	for _, l := range [...]*[]string{&p.scopes, &p.acrValues, &p.resource} {
		n := d.uvarint()
		if n > uint64(len(d.b)) {
			return errPending
		}
		for range n {
			*l = append(*l, d.string())
		}
	}
	if d.failed || len(d.b) != 0 || p.state == "" {
		return errPending
	}
	*r = AuthorizationRequest{pendingLogin: p}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads length-prefixed fields and remembers the first failure.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<62 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
