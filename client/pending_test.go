package client_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestPendingLoginBinary(t *testing.T) {
	everything := client.AuthorizationOptions{MaxAge: time.Hour, ACRValues: []string{"1", "2"}, Resource: []string{"https://a.example", "https://b.example"}}
	for name, opts := range map[string]client.AuthorizationOptions{"simple": {}, "everything": everything, "max_age=0": {MaxAge: 1}} {
		scenario(t, name, func(b *bench) {
			req := b.begin(opts)
			data, err := req.AppendBinary([]byte("prefix"))
			if err != nil {
				b.Fatal(err)
			}
			data, found := bytes.CutPrefix(data, []byte("prefix"))
			if !found {
				b.Error("it does not append")
			}
			var kept client.AuthorizationRequest
			if err := kept.UnmarshalBinary(data); err != nil {
				b.Fatal(err)
			}
			if kept.State() != req.State() || kept.Issuer() != req.Issuer() || kept.ClientID() != req.ClientID() || kept.RedirectURI() != req.RedirectURI() ||
				!kept.CreatedAt().Equal(req.CreatedAt()) || kept.URL() != "" {
				b.Errorf("%v", &kept)
			}
			again, _ := kept.AppendBinary(nil)
			if !bytes.Equal(again, data) {
				b.Error("what was kept is not what comes out")
			}
			clear(data) // it is the caller's
			if kept.State() != req.State() {
				b.Error("it refers to the caller's bytes")
			}
			b.silent("pending login", &kept)
			r := b.request(b.visit(req))
			if _, err := b.finish(&kept, r); err != nil {
				b.Errorf("login: %v", err)
			}
		})
	}
	// All that is asked survives, seen by what it makes of the login.
	scenario(t, "asked for before, held to after", func(b *bench) {
		b.as.Misbehave(claim("auth_time", time.Now().Add(-2*time.Hour).Unix()))
		_, err := b.login(everything)
		b.failed(err, failure{code: client.ErrIDToken, reason: "auth_time", action: client.ActionStepUp})
		sent := b.as.Log("token")[0].Form
		if !slices.Equal(sent["resource"], everything.Resource) {
			b.Errorf("resource is %q", sent["resource"])
		}
	})
	scenario(t, "damaged", func(b *bench) {
		good, err := b.begin(everything).AppendBinary(nil)
		if err != nil {
			b.Fatal(err)
		}
		damaged := map[string][]byte{
			"nothing": nil, "version alone": good[:1], "another version": append([]byte{2}, good[1:]...), "one byte more": append(slices.Clone(good), 0),
			"no state":    {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"giant list":  {1, 0, 0, 0, 1, 's', 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
			"giant field": {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		}
		for n := range len(good) {
			damaged["cut to "+hex.EncodeToString([]byte{byte(n >> 8), byte(n)})] = good[:n]
		}
		for name, data := range damaged {
			kept := *b.begin(client.AuthorizationOptions{})
			before := kept.State()
			if err := kept.UnmarshalBinary(data); err == nil || kept.State() != before {
				b.Errorf("%s: %v", name, err)
			}
		}
	})
}

// ATK-S03: no bytes make it panic, and what it reads it writes the same way.
func FuzzPendingLogin(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 's', 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 3, 0x80, 1, 5, 1, 's', 1, 'n', 1, 'v', 1, 'i', 1, 'c', 1, 'r', 1, 1, 'o', 0, 2, 1, 'a', 1, 'b'})
	f.Add([]byte{1, 2, 0, 0x80, 0xc8, 0xaf, 0xa0, 0x25, 1, 's', 0, 0, 0, 0, 0, 0, 0, 0}) // a max_age beyond any duration
	f.Fuzz(func(t *testing.T, data []byte) {
		var r client.AuthorizationRequest
		if r.UnmarshalBinary(data) != nil {
			return
		}
		first, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again client.AuthorizationRequest
		if err := again.UnmarshalBinary(first); err != nil {
			t.Fatalf("it does not read what it wrote: %v", err)
		}
		second, _ := again.AppendBinary(nil)
		if !bytes.Equal(first, second) || again.State() != r.State() || again.State() == "" {
			t.Errorf("%x became %x", first, second)
		}
	})
}
