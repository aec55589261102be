//go:build race

package session

// modelRuns is how many runs a scenario has at most: here only as many as show the race detector what there is to see.
const modelRuns = 100
