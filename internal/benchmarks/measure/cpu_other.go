//go:build !unix

package measure

import "time"

// cpuTime is not known here; the wall clock is taken in its place.
func cpuTime() time.Duration { return 0 }
