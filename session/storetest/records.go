package storetest

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func absent(t *testing.T, c Config) {
	open(t, c).lacks(newKey())
}

func firstWrite(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	version := p.write(key, 0, []byte("first"), longTTL)
	p.holds(key, []byte("first"), version)
}

func onlyIfAbsent(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	version := p.write(key, 0, []byte("first"), longTTL)
	p.refuse(key, 0, []byte("second"), longTTL)
	p.holds(key, []byte("first"), version)
	p.refuse(key, 0, []byte("first"), longTTL)
	p.holds(key, []byte("first"), version)
}

func replaced(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	version := p.write(key, 0, []byte("0"), longTTL)
	for i := range 20 {
		value := []byte(strings.Repeat("x", i*7%20))
		version = p.write(key, version, value, longTTL)
		p.holds(key, value, version)
	}
}

func conflict(t *testing.T, c Config) {
	p, key, other := open(t, c), newKey(), newKey()
	wrong := []int64{1, 2, -1, math.MaxInt32, math.MaxInt64, math.MinInt64}
	for _, old := range wrong {
		p.refuse(key, old, []byte("nothing"), longTTL)
		p.lacks(key)
	}
	first := p.write(key, 0, []byte("first"), longTTL)
	second := p.write(key, first, []byte("second"), longTTL)
	foreign := p.write(other, 0, []byte("other"), longTTL)
	wrong = append(wrong, first, first-1, second+1, second-1, second+1000, -second, second|1<<62, second^1<<32)
	for _, old := range append(wrong, foreign) {
		if old == second {
			continue
		}
		p.refuse(key, old, []byte("third"), longTTL)
		p.holds(key, []byte("second"), second)
	}
	third := p.write(key, second, []byte("third"), longTTL)
	p.holds(key, []byte("third"), third)
	p.holds(other, []byte("other"), foreign)
}

func values(t *testing.T, c Config) {
	p := open(t, c)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	replacedKey, version := newKey(), int64(0)
	for _, value := range [][]byte{
		{}, {0}, {'\n'}, {0xff}, []byte(" spaced "), []byte("'\"\\%$\r\n;--"), []byte("\\x00"), []byte("nil"), all,
		bytes.Repeat(all, 2<<10/256), bytes.Repeat(all, 64<<10/256), make([]byte, 2<<10), {1}, nil,
	} {
		key := newKey()
		p.holds(key, value, p.write(key, 0, value, longTTL))
		version = p.write(replacedKey, version, value, longTTL)
		p.holds(replacedKey, value, version)
	}
	// An empty record is one.
	key := newKey()
	version = p.write(key, 0, nil, longTTL)
	p.refuse(key, 0, []byte("second"), longTTL)
	p.holds(key, nil, version)
}

func keys(t *testing.T, c Config) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:"
	p := open(t, c)
	base := strings.ReplaceAll(newKey(), "T", "t") + strings.Repeat("k", 20) // 64 bytes
	names := []string{
		base[:32], base[:44], base[:62], base[:63], base[:40] + ":" + base[41:44], strings.ToUpper(base), strings.ToLower(base),
		"T" + base[1:44], base[:8] + ":", base[:8] + "::", base[:8] + ":a:b", "t_" + base[2:40], "t-" + base[2:40], "t:" + base[2:40],
	}
	for _, last := range alphabet {
		names = append(names, base[:63]+string(last))
	}
	for _, second := range alphabet {
		names = append(names, "t"+string(second)+base[2:44])
	}
	written := map[string]int64{}
	for _, key := range names {
		if _, again := written[key]; again {
			continue
		}
		p.lacks(key) // nothing that was written to another is here
		written[key] = p.write(key, 0, []byte("of "+key), longTTL)
	}
	for key, version := range written {
		p.holds(key, []byte("of "+key), version)
	}
	// A write to one changes no other.
	written[base[:63]] = p.write(base[:63], written[base[:63]], []byte("of "+base[:63]), longTTL)
	for key, version := range written {
		p.holds(key, []byte("of "+key), version)
	}
}

func passedValue(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	value := make([]byte, 100, 200)
	copy(value, "first")
	want := bytes.Clone(value)
	version := p.write(key, 0, value, longTTL)
	clear(value)
	p.holds(key, want, version)
	copy(value, "second")
	want = bytes.Clone(value)
	version = p.write(key, version, value, longTTL)
	clear(value[:cap(value)])
	p.holds(key, want, version)
}

func returnedValue(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	want := bytes.Repeat([]byte("value"), 20)
	version := p.write(key, 0, want, longTTL)
	one, _, err1 := p.get(key)
	two, _, err2 := p.get(key)
	if err1 != nil || err2 != nil {
		t.Fatalf("Get: %v, %v", err1, err2)
	}
	clear(one)
	clear(one[:cap(one)])
	if !bytes.Equal(two, want) {
		t.Fatal("a write to a value that Get returned has changed another that it returned")
	}
	p.holds(key, want, version)
	next := p.write(key, version, []byte("next"), longTTL)
	if !bytes.Equal(two, want) {
		t.Fatal("a Swap has changed a value that Get returned before")
	}
	p.holds(key, []byte("next"), next)
}

func versions(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	seen := map[int64]bool{}
	var version int64
	for i := range 300 {
		// Two values in turn: a version that is made of the value is the same again.
		version = p.write(key, version, []byte{byte(i % 2)}, longTTL)
		if seen[version] {
			t.Fatalf("write %d has a version that an earlier write of this key had", i)
		}
		seen[version] = true
	}
}
