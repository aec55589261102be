package cookies

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what is written.
const (
	// MaxCookie is the most that a browser must keep of one cookie, name, value and attributes (RFC 6265bis §6.1).
	MaxCookie = 4096
	// MaxTotal is the most that one value takes in all its chunks: servers and proxies refuse longer headers.
	MaxTotal = 8 << 10
	// MaxAge is where browsers cut Max-Age off (RFC 6265bis §5.5).
	MaxAge = 400 * 24 * time.Hour
)

// HostPrefix makes a browser insist on Secure, Path=/ and no Domain (RFC 6265bis §4.1.3.2).
const HostPrefix = "__Host-"

// Kind is a name and how cookies of that name are kept. HttpOnly and Path=/ always are.
type Kind struct {
	Name     string
	Secure   bool
	SameSite http.SameSite
}

// line is a whole Set-Cookie value. The attributes of an expiry equal those set, or the
// browser may keep the cookie.
func (k Kind) line(name, value string, maxAge int) string {
	var b strings.Builder
	b.Grow(len(name) + len(value) + 80)
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(value)
	b.WriteString("; Path=/; Max-Age=")
	b.WriteString(strconv.Itoa(maxAge))
	b.WriteString("; HttpOnly")
	if k.Secure {
		b.WriteString("; Secure")
	}
	switch k.SameSite {
	case http.SameSiteNoneMode:
		b.WriteString("; SameSite=None")
	case http.SameSiteStrictMode:
		b.WriteString("; SameSite=Strict")
	default:
		b.WriteString("; SameSite=Lax")
	}
	return b.String()
}

// Set writes the value, in one cookie if it fits, else in chunks of that generation, and expires what else the
// request carried under this name. It returns Size, and has written nothing, if the value is too
// long for chunks too. An earlier Set or Expire in the same response is replaced.
func (k Kind) Set(h http.Header, seen Found, value string, generation uint64, maxAge time.Duration) error {
	age := int(min(maxAge, MaxAge) / time.Second)
	lines, err := k.split(value, generation, max(age, 0))
	if err != nil {
		return err
	}
	k.retract(h)
	k.expireSeen(h, seen, generation, len(lines) == 1)
	for _, l := range lines {
		h.Add("Set-Cookie", l)
	}
	noStore(h)
	return nil
}

// SetWhole is Set for a value that is never split. It returns Size if it does not fit.
func (k Kind) SetWhole(h http.Header, value string, maxAge time.Duration) error {
	l := k.line(k.Name, value, max(int(min(maxAge, MaxAge)/time.Second), 0))
	if len(l) > MaxCookie {
		return Size
	}
	k.retract(h)
	h.Add("Set-Cookie", l)
	noStore(h)
	return nil
}

// Expire makes the browser forget the cookie and all chunks of it that the request carried. It expires
// the name itself even if it was not seen.
func (k Kind) Expire(h http.Header, seen Found) {
	k.retract(h)
	k.expireSeen(h, seen, 0, false)
	if !seen.Present {
		h.Add("Set-Cookie", k.line(k.Name, "", 0))
	}
	noStore(h)
}

// split returns the Set-Cookie lines of a value.
func (k Kind) split(value string, generation uint64, maxAge int) ([]string, error) {
	if l := k.line(k.Name, value, maxAge); len(l) <= MaxCookie {
		return []string{l}, nil
	}
	if len(value) > MaxTotal {
		return nil, Size
	}
	room := MaxCookie - len(k.line(chunkName(k.Name, generation, maxChunks), "", maxAge))
	manifest := 1 + 1 + digestText + 1
	count := (len(value) + manifest + room - 1) / room
	if count > maxChunks || generation == 0 || generation > maxGeneration {
		return nil, Size
	}
	value = strconv.Itoa(count) + "." + digestOf(generation, count, value) + "." + value
	lines, total := make([]string, 0, count), 0
	for i := range count {
		part := value[min(i*room, len(value)):min((i+1)*room, len(value))]
		l := k.line(chunkName(k.Name, generation, i), part, maxAge)
		total += len(l)
		lines = append(lines, l)
	}
	if total > MaxTotal {
		return nil, Size
	}
	return lines, nil
}

// expireSeen expires what the request carried, except what the coming lines overwrite.
func (k Kind) expireSeen(h http.Header, seen Found, generation uint64, single bool) {
	if seen.Present && !single {
		h.Add("Set-Cookie", k.line(k.Name, "", 0))
	}
	for _, c := range seen.chunks {
		if c.generation != generation {
			h.Add("Set-Cookie", k.line(c.name, "", 0))
		}
	}
}

// retract takes out what was written under this name before: a browser that got both would
// have to choose.
func (k Kind) retract(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	lines = slices.DeleteFunc(lines, func(l string) bool {
		rest, ok := strings.CutPrefix(l, k.Name)
		if !ok || rest == "" {
			return false
		}
		if rest[0] == '=' {
			return true
		}
		suffix, _, _ := strings.Cut(rest, "=")
		if suffix == "" {
			return false
		}
		_, _, ok = cutChunkName(suffix)
		return ok
	})
	h["Set-Cookie"] = lines
	if len(lines) == 0 {
		delete(h, "Set-Cookie")
	}
}

// noStore keeps shared caches from handing one user's cookie to the next (CVE-2025-48947).
func noStore(h http.Header) { h.Set("Cache-Control", "no-store") }
