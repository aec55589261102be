package idtoken

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// softAge is how long a key set with this Cache-Control header (RFC 9111 §5.2.2) is served without asking again.
func softAge(cacheControl string) time.Duration {
	age := defaultAge
	said := false
	for directive := range strings.SplitSeq(strings.ToLower(cacheControl), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minAge
		case "max-age":
			// RFC 9111 §1.2.2: too large means very long. §4.2.1: of two the first counts, and a malformed one means stale.
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return minAge
			}
			if !said {
				age, said = time.Duration(seconds)*time.Second, true
			}
		}
	}
	return min(max(age, minAge), hardAge)
}
