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
	return name + "=" + value + k.attributes(maxAge)
}

func (k Kind) attributes(maxAge int) string {
	secure, site := "", "; SameSite=Lax"
	if k.Secure {
		secure = "; Secure"
	}
	switch k.SameSite {
	case http.SameSiteNoneMode:
		site = "; SameSite=None"
	case http.SameSiteStrictMode:
		site = "; SameSite=Strict"
	}
	return "; Path=/; Max-Age=" + strconv.Itoa(maxAge) + "; HttpOnly" + secure + site
}

// Frame is what stands before and after a value in the line of a cookie that is not split: a value that is
// made between the two is set without being copied. See SetLine.
func (k Kind) Frame(maxAge time.Duration) (before, after string) {
	return k.Name + "=", k.attributes(seconds(maxAge))
}

func seconds(maxAge time.Duration) int { return max(int(min(maxAge, MaxAge)/time.Second), 0) }

// Set writes the value, in one cookie if it fits, else in chunks of that generation, and expires what else the
// request carried under this name. It returns Size, and has written nothing, if the value is too
// long for chunks too. An earlier Set or Expire in the same response is replaced.
func (k Kind) Set(h http.Header, seen Found, value string, generation uint64, maxAge time.Duration) error {
	before, after := k.Frame(maxAge)
	return k.SetLine(h, seen, before+value+after, generation, maxAge)
}

// SetLine is Set for a value in its Frame.
func (k Kind) SetLine(h http.Header, seen Found, line string, generation uint64, maxAge time.Duration) error {
	if len(line) <= MaxCookie {
		k.retract(h)
		k.expireSeen(h, seen, generation, true)
		h["Set-Cookie"] = append(h["Set-Cookie"], line)
		noStore(h)
		return nil
	}
	value := line[len(k.Name)+1:]
	value = value[:strings.IndexByte(value, ';')]
	lines, err := k.split(value, generation, seconds(maxAge))
	if err != nil {
		return err
	}
	k.retract(h)
	k.expireSeen(h, seen, generation, false)
	for _, l := range lines {
		h.Add("Set-Cookie", l)
	}
	noStore(h)
	return nil
}

// SetWhole is Set for a value that is never split. It returns Size if it does not fit.
func (k Kind) SetWhole(h http.Header, value string, maxAge time.Duration) error {
	l := k.line(k.Name, value, seconds(maxAge))
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

// ExpireAll makes the browser forget cookies that are never split, in one pass over what the response sets already.
func ExpireAll(h http.Header, kinds []Kind) {
	if len(kinds) == 0 {
		return
	}
	gone := make(map[string]bool, len(kinds))
	lines := make([]string, 0, len(h["Set-Cookie"])+len(kinds))
	for _, k := range kinds {
		gone[k.Name] = true
	}
	for _, l := range h["Set-Cookie"] {
		if name, _, _ := strings.Cut(l, "="); !gone[name] {
			lines = append(lines, l)
		}
	}
	for _, k := range kinds {
		if gone[k.Name] { // once, if the request carried it twice
			gone[k.Name] = false
			lines = append(lines, k.line(k.Name, "", 0))
		}
	}
	h["Set-Cookie"] = lines
	noStore(h)
}

// split returns the Set-Cookie lines of a value that needs several.
func (k Kind) split(value string, generation uint64, maxAge int) ([]string, error) {
	if len(value) > MaxTotal {
		return nil, Size
	}
	// As if Max-Age had all its digits: writes of one generation and length have one count, whatever time is left.
	longest := len(k.line(chunkName(k.Name, generation, maxChunks), "", seconds(MaxAge)))
	room := MaxCookie - longest
	manifest := 1 + 1 + digestText + 1
	count := (len(value) + manifest + room - 1) / room
	if count > maxChunks || generation == 0 || generation > maxGeneration {
		return nil, Size
	}
	value = strconv.Itoa(count) + "." + digestOf(generation, count, value) + "." + value
	if len(value)+count*longest > MaxTotal {
		return nil, Size
	}
	lines := make([]string, 0, count)
	for i := range count {
		part := value[min(i*room, len(value)):min((i+1)*room, len(value))]
		lines = append(lines, k.line(chunkName(k.Name, generation, i), part, maxAge))
	}
	return lines, nil
}

// expireSeen expires what the request carried, except what the coming lines overwrite.
func (k Kind) expireSeen(h http.Header, seen Found, generation uint64, single bool) {
	if seen.Present && !single {
		h.Add("Set-Cookie", k.line(k.Name, "", 0))
	}
	for _, c := range seen.chunks {
		if single || c.generation != generation {
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
