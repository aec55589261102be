package session

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func testJWT(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"ES256"}`)) + "." + enc([]byte(claims)) + "." + enc(bytes.Repeat([]byte{0xfb}, 64))
}

func testRecord() *record {
	r := &record{
		generation: 1_900_000_000_123, created: 1_900_000_000, seen: 1_900_000_100, absolute: 1_900_043_200, idle: 3600, obtained: 1_899_999_999_987,
		issuer: testIssuer, clientID: testClient, subject: "alice", sid: "sid-1",
		attributes: []attribute{{"theme", "dark"}, {"empty", ""}},
		tokens: tokens{
			tokenGeneration: 7, accessToken: testJWT(`{"a":1}`), refreshToken: "opaque!refresh", tokenType: "Bearer", scopes: "openid profile",
			accessIssued: 1_900_000_000, accessExpiry: 1_900_003_600, refreshExpiry: 1_900_086_400, idToken: packJWT(testJWT(`{"sub":"alice"}`)), userInfo: `{"sub":"alice"}`,
		},
	}
	for i := range r.id {
		r.id[i] = byte(i)
	}
	return r
}

func encode(t testing.TB, r *record) []byte {
	t.Helper()
	b, err := r.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	strings := []string{"", "x", "a.b.c", testJWT("{}"), "QUJD", "QUJ", "QUJE.", ".", "..", "a.b.c.d.e", "a.b.c.d.e.f", "AA\n", "AB", "ä", "=", strings.Repeat("A", 5000)}
	pick := func() string { return strings[r.IntN(len(strings))] }
	for range 2000 {
		in := testRecord()
		for _, s := range []*string{&in.issuer, &in.clientID, &in.subject, &in.sid, &in.accessToken, &in.refreshToken, &in.tokenType, &in.scopes, &in.userInfo} {
			*s = pick()
		}
		in.idToken = packJWT(pick())
		in.attributes = nil
		for range r.IntN(3) {
			in.attributes = append(in.attributes, attribute{pick(), pick()})
		}
		b := encode(t, in)
		var out record
		if err := out.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		clear(b) // nothing of the input is kept
		if !reflect.DeepEqual(*in, out) {
			t.Fatalf("got %+v, want %+v", out, *in)
		}
	}
}

func TestRecordIsCompact(t *testing.T) {
	r := testRecord()
	before := len(encode(t, r))
	r.accessToken = testJWT(strings.Repeat("x", 3000))
	grew := len(encode(t, r)) - before
	if text := len(r.accessToken) - len(testJWT(`{"a":1}`)); grew > text*3/4+2 {
		t.Fatalf("%d characters of JWT take %d bytes", text, grew)
	}
	b := encode(t, r)
	if allocs := testing.AllocsPerRun(100, func() {
		var out record
		_ = out.UnmarshalBinary(b)
	}); allocs > 3 { // the strings, the attributes, the record
		t.Fatalf("%v allocations", allocs)
	}
}

func TestLoadAllocates(t *testing.T) {
	// With the context and the copy of the request that the middleware makes, a read is four.
	b := newBed(t, Config{})
	br := newBrowser(t)
	b.login(br, "alice")
	r := br.request()
	if allocs := testing.AllocsPerRun(200, func() {
		if s, err := b.Load(r); err != nil || s.Subject() != "alice" {
			t.Fatal(err)
		}
	}); allocs > 3 { // two; the race detector makes pools forget
		t.Fatalf("%v allocations", allocs)
	}
}

func TestRecordRefuses(t *testing.T) {
	good := encode(t, testRecord())
	refuse := func(name string, b []byte) {
		t.Helper()
		out := record{subject: "before"}
		if err := out.UnmarshalBinary(b); err == nil {
			t.Errorf("%s: accepted", name)
		} else if out.accessToken != "" {
			t.Errorf("%s: half a record", name)
		}
	}
	for n := range len(good) {
		refuse(fmt.Sprintf("cut at %d", n), good[:n])
	}
	refuse("more", append(bytes.Clone(good), 0))
	for _, v := range []byte{0, recordVersion - 1, recordVersion + 1, 255} {
		b := bytes.Clone(good)
		b[0] = v
		refuse("version", b)
	}
	sizes := bytes.Clone(good)
	sizes[33]++ // the size of all text
	refuse("a size that is not true", sizes)
	sizes[33] -= 2
	refuse("a size that is too small", sizes)
	many := testRecord()
	many.attributes = make([]attribute, maxAttributes+1)
	refuse("too many attributes", encode(t, many))
	for _, id := range []packedJWT{"\x09", "\x03\x01", "\x01\x05abc", "\x00", "\x01\x01aa"} {
		r := testRecord()
		r.idToken = id
		refuse("an ID token that cannot be unpacked", encode(t, r))
	}
}

func TestPackedJWT(t *testing.T) {
	for _, s := range []string{testJWT(`{"sub":"x"}`), "not.a.jwt!", "one", "a.b", "QUJD.QUJD", ""} {
		p := packJWT(s)
		if p.text() != s || !p.valid() {
			t.Errorf("%q came back as %q", s, p.text())
		}
	}
	if p := packJWT(testJWT(`{"sub":"x"}`)).payload(); p != `{"sub":"x"}` {
		t.Errorf("payload %q", p)
	}
	for _, p := range []packedJWT{"", "\x00\x01a", "\x03", "\x03\x05a", "\x03\x01a\x09", packJWT("QUJD")} {
		if p.payload() != "" {
			t.Errorf("%q has a payload", p)
		}
	}
}

func FuzzRecord(f *testing.F) {
	// ATK-S03: whatever bytes come, no panic; what is accepted is what we would have written.
	f.Add(encode(f, testRecord()))
	f.Add(encode(f, &record{}))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if r.UnmarshalBinary(b) != nil {
			return
		}
		s := &Session{rec: r}
		_ = s.Claims(new(map[string]any))
		_ = s.Tokens()
		var again record
		if err := again.UnmarshalBinary(encode(t, &r)); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%v: %+v became %+v", err, r, again)
		}
	})
}
