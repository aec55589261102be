package cookies

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// A value too long for one cookie is split over
//
//	<name>.<generation>.<index>
//
// with generation and index in base 36. Chunk 0 begins with a manifest, "<count>.<digest>.", so that
// a value that lost a part, or got one from another write, is noticed before it is
// opened. Generations grow with each write; the newest one counts, whole or not at all.
const (
	maxChunks      = 4  // of one value
	maxSeen        = 64 // chunk cookies of a request that is let in; more are only taken away
	maxGeneration  = 1 << 53
	generationBase = 36
)

// digestText is the length of the manifest's digest: 128 bits against accidents; the seal is
// what stands against intent.
const digestText = 22

// Found is what a request carries under one name.
type Found struct {
	Value   string // of the cookie that is not split
	Present bool

	duplicate bool
	overflow  bool
	chunks    []chunk
}

type chunk struct {
	name, value string
	generation  uint64
	index       int
}

// Find collects the cookie of that name and its chunks in one pass.
func Find(lines []string, name string) (f Found) {
	for s := Scan(lines); s.Next(); {
		if len(s.Name) < len(name) || s.Name[:len(name)] != name {
			continue
		}
		if len(s.Name) == len(name) {
			f.duplicate = f.duplicate || f.Present
			f.Value, f.Present = s.Value, true
			continue
		}
		generation, index, ok := cutChunkName(s.Name[len(name):])
		if !ok {
			continue
		}
		if f.overflow = len(f.chunks) >= maxSeen; !f.overflow { // refused as it is: more must not cost their square
			for _, c := range f.chunks {
				f.duplicate = f.duplicate || c.generation == generation && c.index == index
			}
		}
		f.chunks = append(f.chunks, chunk{s.Name, s.Value, generation, index})
	}
	return f
}

// Err is Duplicate if any name of ours came twice, Chunk if there were more chunks than any of our writes
// leaves behind.
func (f *Found) Err() error {
	switch {
	case f.duplicate:
		return Duplicate
	case f.overflow:
		return Chunk
	}
	return nil
}

// Overflow reports whether all that Err refuses is the number of chunks. Join still tells whether the newest are whole.
func (f *Found) Overflow() bool { return f.overflow && !f.duplicate }

// Assume adds what the browser may hold of a write that this request did not bring along, whole or split, so that the next
// Set or Expire takes it away.
func (f *Found) Assume(name string, generation uint64) {
	f.Present = true
	if generation == 0 || generation > maxGeneration {
		return
	}
	for i := range maxChunks {
		if !slices.ContainsFunc(f.chunks, func(c chunk) bool { return c.generation == generation && c.index == i }) {
			f.chunks = append(f.chunks, chunk{name: chunkName(name, generation, i), generation: generation, index: i})
		}
	}
}

// Split reports whether there are chunks, and the highest generation among them.
func (f *Found) Split() (generation uint64, ok bool) {
	for i := range f.chunks {
		generation = max(generation, f.chunks[i].generation)
	}
	return generation, len(f.chunks) > 0
}

// Join puts the chunks of the highest generation together. It returns Chunk unless they are
// exactly those that were written; an older generation is never a substitute: it may hold a
// refresh token that is spent.
func (f *Found) Join() (string, error) {
	generation, ok := f.Split()
	if !ok {
		return "", Chunk
	}
	var parts [maxChunks]*chunk
	n := 0
	for i := range f.chunks {
		c := &f.chunks[i]
		if c.generation != generation {
			continue
		}
		if c.index >= maxChunks || parts[c.index] != nil {
			return "", Chunk
		}
		parts[c.index] = c
		n++
	}
	if parts[0] == nil {
		return "", Chunk
	}
	count, rest, _ := strings.Cut(parts[0].value, ".")
	digest, first, ok := strings.Cut(rest, ".")
	if !ok || count != strconv.Itoa(n) {
		return "", Chunk
	}
	var b strings.Builder
	b.WriteString(first)
	for _, c := range parts[1:n] {
		if c == nil { // n cookies, but not 0…n-1
			return "", Chunk
		}
		b.WriteString(c.value)
	}
	if subtle.ConstantTimeCompare([]byte(digest), []byte(digestOf(generation, n, b.String()))) != 1 {
		return "", Chunk
	}
	return b.String(), nil
}

func digestOf(generation uint64, count int, value string) string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64([]byte{byte(count)}, generation))
	h.Write([]byte(value))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))[:digestText]
}

func chunkName(name string, generation uint64, index int) string {
	return name + "." + strconv.FormatUint(generation, generationBase) + "." + strconv.Itoa(index)
}

// cutChunkName takes what follows the name, ".<generation>.<index>", in exactly the form that chunkName
// gives it: no second spelling of one chunk.
func cutChunkName(s string) (generation uint64, index int, ok bool) {
	if s[0] != '.' {
		return 0, 0, false
	}
	g, i, ok := strings.Cut(s[1:], ".")
	if !ok || len(g) > 11 || len(i) > 3 {
		return 0, 0, false
	}
	generation, err := strconv.ParseUint(g, generationBase, 64)
	if err != nil || generation == 0 || generation > maxGeneration { // 0 is no write of ours, and no name for Expire to spare
		return 0, 0, false
	}
	index, err = strconv.Atoi(i)
	if err != nil || index < 0 {
		return 0, 0, false
	}
	return generation, index, chunkName("", generation, index) == s
}
