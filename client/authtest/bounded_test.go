package authtest

import (
	"slices"
	"testing"
)

func TestBounded(t *testing.T) {
	b := newBounded[int, string](3)
	has := func() (keys []int) {
		for i := range 10 {
			if _, ok := b.get(i); ok {
				keys = append(keys, i)
			}
		}
		return keys
	}
	for i := range 3 {
		b.add(i, "x")
	}
	if got := has(); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("%v", got)
	}
	b.remove(1)
	b.remove(9)
	b.add(3, "x")
	if got := has(); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("%v", got)
	}
	for i := 4; i < 8; i++ {
		b.add(i, "x")
	}
	if got := has(); !slices.Equal(got, []int{5, 6, 7}) || len(b.order) != 3 || len(b.entries) != 3 {
		t.Errorf("%v, %d and %d", got, len(b.order), len(b.entries))
	}
}

func TestForgottenLogins(t *testing.T) {
	s, err := New(Config{Issuer: "https://as.example"})
	if err != nil {
		t.Fatal(err)
	}
	s.grants = newBounded[identifier, *grant](2)
	var tokens []string
	for range 3 {
		g := &grant{id: newIdentifier()}
		s.grants.add(g.id, g)
		tokens = append(tokens, s.mintAccess(g, nil, nil))
	}
	if s.Active(tokens[0]) || !s.Active(tokens[1]) || !s.Active(tokens[2]) {
		t.Errorf("%v %v %v", s.Active(tokens[0]), s.Active(tokens[1]), s.Active(tokens[2]))
	}
}
