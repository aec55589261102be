package measure

import (
	"fmt"
	"strings"
)

// Target is a line that the project holds itself to.
type Target struct {
	What    string
	Bound   float64
	AtLeast bool   // the bound is a least value; else a greatest
	Unit    string // "×", "", "B"
	Got     float64
	Minima  float64 // the same by the minima; 0 where there is no such thing
	Missing string  // why it was not measured, in words
}

// Met reports whether the bound holds.
func (t Target) Met() bool { return t.Missing == "" && t.holds(t.Got) }

func (t Target) holds(v float64) bool {
	if t.AtLeast {
		return v >= t.Bound
	}
	return v <= t.Bound
}

func (t Target) verdict() string {
	switch {
	case t.Missing != "":
		return "not measured: " + t.Missing
	case t.Minima != 0 && t.holds(t.Minima) != t.holds(t.Got):
		// The two estimates disagree: the machine was too noisy for this line, or it is at the bound.
		if t.Met() {
			return "PASS (minima disagree)"
		}
		return "FAIL (minima disagree)"
	case t.Met():
		return "PASS"
	}
	return "FAIL"
}

// Targets is a Markdown table of the targets with a verdict each.
func Targets(ts []Target) string {
	var b strings.Builder
	b.WriteString("| target | bound | median of rounds | minima | |\n|---|---:|---:|---:|---|\n")
	for _, t := range ts {
		sign := "≤"
		if t.AtLeast {
			sign = "≥"
		}
		got, low := "–", "–"
		if t.Missing == "" {
			got = Number(t.Got)
		}
		if t.Missing == "" && t.Minima != 0 {
			low = Number(t.Minima)
		}
		fmt.Fprintf(&b, "| %s | %s %s %s | %s | %s | %s |\n", t.What, sign, Number(t.Bound), t.Unit, got, low, t.verdict())
	}
	return b.String()
}
