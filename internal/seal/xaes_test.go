package seal

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// The vectors of https://c2sp.org/XAES-256-GCM: one for each value of the subkey's carry bit.
func TestXAESVectors(t *testing.T) {
	for _, v := range []struct {
		name, aad, want string
		key             byte
	}{
		{name: "no carry", key: 1, want: "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{name: "carry", key: 3, aad: "c2sp.org/XAES-256-GCM", want: "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		t.Run(v.name, func(t *testing.T) {
			x, err := newXAES(bytes.Repeat([]byte{v.key}, keySize))
			if err != nil {
				t.Fatal(err)
			}
			nonce, plain := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
			got := sealWith(t, x, nonce, plain, []byte(v.aad))
			if hex.EncodeToString(got) != v.want {
				t.Fatalf("sealed %x, want %s", got, v.want)
			}
			for range 2 { // the second time from the kept key
				opened, err := x.open(nil, nonce, got, []byte(v.aad))
				if err != nil || !bytes.Equal(opened, plain) {
					t.Fatalf("open = %q, %v", opened, err)
				}
			}
		})
	}
}

// The accumulated vectors: everything is drawn from SHAKE128 and everything sealed goes into SHAKE128.
func TestXAESAccumulated(t *testing.T) {
	const rounds, want = 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	in, out := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		in.Read(b)
		return b
	}
	for range rounds {
		key, nonce := read(keySize), read(nonceSize)
		plain := read(int(read(1)[0]))
		aad := read(int(read(1)[0]))
		x, err := newXAES(key)
		if err != nil {
			t.Fatal(err)
		}
		sealed := sealWith(t, x, nonce, plain, aad)
		opened, err := x.open(nil, nonce, sealed, aad)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("open: %v", err)
		}
		out.Write(sealed)
	}
	sum := make([]byte, 32)
	out.Read(sum)
	if hex.EncodeToString(sum) != want {
		t.Fatalf("accumulated %x, want %s", sum, want)
	}
}

func TestXAESKeepsOnlyWhatOpened(t *testing.T) {
	x, err := newXAES(bytes.Repeat([]byte{7}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	kept := func() (n int) {
		for i := range x.slots {
			if x.slots[i].Load() != nil {
				n++
			}
		}
		return n
	}
	nonce := make([]byte, nonceSize)
	for i := range 1000 { // forgeries under a thousand prefixes
		nonce[0], nonce[1] = byte(i), byte(i>>8)
		if _, err := x.open(nil, nonce, make([]byte, 40), nil); err == nil {
			t.Fatal("a forgery opened")
		}
	}
	if n := kept(); n != 0 {
		t.Fatalf("forgeries hold %d derived keys", n)
	}
	for i := range 1000 {
		nonce[0], nonce[1], nonce[2] = byte(i), byte(i>>8), byte(i>>3)
		if _, err := x.open(nil, nonce, sealWith(t, x, nonce, []byte("x"), nil), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := kept(); n == 0 || n > derivedSlots {
		t.Fatalf("%d derived keys kept", n)
	}
}

func sealWith(t *testing.T, x *xaes, nonce, plain, aad []byte) []byte {
	t.Helper()
	d, err := x.derive([prefixSize]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	return d.gcm.Seal(nil, nonce[prefixSize:], plain, aad)
}
