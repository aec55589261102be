//go:build !race

package session

import "math"

// modelRuns is how many runs a scenario has at most: all there are.
const modelRuns = math.MaxInt
