package measure

import (
	"fmt"
	"strings"
)

// Find returns the series of that name, nil if it was not measured.
func Find(all []Series, name string) *Series {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// Table is a Markdown table of all series with their ratios to base. extra, if given, adds a column.
func Table(all []Series, base, column string, extra func(name string) string) string {
	var b strings.Builder
	head := "| | CPU µs | wall µs | B/op | allocs |"
	rule := "|---|---:|---:|---:|---:|"
	if extra != nil {
		head += " " + column + " |"
		rule += "---:|"
	}
	fmt.Fprintf(&b, "%s × %s (CPU) | minima | IQR | × (wall) |\n%s---:|---:|---:|---:|\n", head, base, rule)
	ref := Find(all, base)
	for i := range all {
		s := &all[i]
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f | %s |", s.Name, Number(s.Median(CPU)/1e3), Number(s.Median(Wall)/1e3), s.Median(Bytes), Number(s.Median(Allocs)))
		if extra != nil {
			fmt.Fprintf(&b, " %s |", extra(s.Name))
		}
		if ref == nil {
			b.WriteString(" | | | |\n")
			continue
		}
		cpu, wall := s.Over(ref, CPU), s.Over(ref, Wall)
		fmt.Fprintf(&b, " %s | %s | %s | %s |\n", Number(cpu.Median), Number(cpu.Minima), Number(cpu.IQR), Number(wall.Median))
	}
	return b.String()
}

// Number writes f with as many digits as mean something.
func Number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
