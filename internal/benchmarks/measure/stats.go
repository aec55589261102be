package measure

import "slices"

// Metric picks one number out of a sample.
type Metric func(Sample) float64

// The metrics.
func CPU(s Sample) float64    { return s.CPU }
func Wall(s Sample) float64   { return s.Wall }
func Server(s Sample) float64 { return s.Server }
func Allocs(s Sample) float64 { return s.Allocs }
func Bytes(s Sample) float64  { return s.Bytes }

// Both is the processor time of this process and of the server.
func Both(s Sample) float64 { return s.CPU + s.Server }

// Median of a metric over all rounds.
func (s *Series) Median(m Metric) float64 { return quantile(s.values(m), 2) }

// Min is the least value of a metric: the round that the machine disturbed least.
func (s *Series) Min(m Metric) float64 { return slices.Min(s.values(m)) }

func (s *Series) values(m Metric) []float64 {
	v := make([]float64, len(s.Samples))
	for i, x := range s.Samples {
		v[i] = m(x)
	}
	return v
}

// Ratio is how one series compares with another.
type Ratio struct {
	Median float64 // of the ratios taken round by round
	Minima float64 // the least value by the other's least value
	IQR    float64 // interquartile range of the ratios taken round by round
}

// Over compares s with base, both measured in the same rounds.
func (s *Series) Over(base *Series, m Metric) Ratio {
	v, b := s.values(m), base.values(m)
	rounds := make([]float64, 0, len(v))
	for i := range min(len(v), len(b)) {
		if b[i] != 0 {
			rounds = append(rounds, v[i]/b[i])
		}
	}
	if len(rounds) == 0 {
		return Ratio{}
	}
	r := Ratio{Median: quantile(rounds, 2), IQR: quantile(rounds, 3) - quantile(rounds, 1)}
	if low := slices.Min(b); low != 0 {
		r.Minima = slices.Min(v) / low
	}
	return r
}

// Less is what s costs above base in the same rounds.
func (s *Series) Less(base *Series) Series {
	d := Series{Name: s.Name}
	for i := range min(len(s.Samples), len(base.Samples)) {
		a, b := s.Samples[i], base.Samples[i]
		d.Samples = append(d.Samples, Sample{a.CPU - b.CPU, a.Wall - b.Wall, a.Server - b.Server, a.Allocs - b.Allocs, a.Bytes - b.Bytes})
	}
	return d
}

// quantile is the n-th quartile of v, between two neighbours where it falls there.
func quantile(v []float64, n int) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	at := float64(len(v)-1) * float64(n) / 4
	low := int(at)
	if low+1 == len(v) {
		return v[low]
	}
	return v[low] + (at-float64(low))*(v[low+1]-v[low])
}
