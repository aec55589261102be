package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

func TestCookieError(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   client.Code
		reason string
	}{
		{&seal.Error{Reason: seal.Auth}, ErrCookie, "auth"},
		{&seal.Error{Reason: seal.WrongPurpose}, ErrCookie, "purpose"},
		{fmt.Errorf("wrapped: %w", &seal.Error{Reason: seal.Size}), ErrCookie, "size"},
		{&seal.Error{Reason: seal.Unsealed}, client.ErrConfig, "codecs"},
		{cookies.Duplicate, ErrCookie, "duplicate"},
		{cookies.Chunk, ErrCookie, "chunk"},
		{errRecord, ErrCookie, "version"},
		{errors.New("CANARY"), ErrCookie, "auth"},
	} {
		err := cookieError(c.err)
		wantError(t, err, c.code, c.reason)
		if strings.Contains(err.Error(), "CANARY") {
			t.Error("a text that is not ours")
		}
	}
}

func TestUnknownRecordVersion(t *testing.T) {
	// A newer release's session, after a roll-back: not logged in, and no half of it.
	b := newBed(t, Config{})
	br := newBrowser(t)
	b.login(br, "alice")
	text, err := b.shared.sessions.Seal(b.sessionSeal, future{}, b.clock.now().Add(3600e9))
	if err != nil {
		t.Fatal(err)
	}
	b.refuse(t, ErrCookie, "version", cookieName+"="+text)
}

type future struct{}

func (future) AppendBinary(b []byte) ([]byte, error) { return append(b, recordVersion+1, 1, 2, 3), nil }

func TestCodecThatStopsSealing(t *testing.T) {
	// A codec that fails after New is an operator's matter, and nothing is written.
	b := newBed(t, Config{})
	s, err := seal.NewSealer(b.clock.now, forgetfulAndSilent{})
	if err != nil {
		t.Fatal(err)
	}
	b.shared.sessions, b.shared.logins, b.shared.logouts = s, s, s
	h := header{}
	_, err = b.create(h, get(nil), testIssuer, testClient, testTokens("alice", 1, b.clock.now()))
	wantError(t, err, client.ErrConfig, "codecs")
	_, err = b.SaveLogout(h, get(nil))
	wantError(t, err, client.ErrConfig, "codecs")
	if h.wrote() || strings.Contains(err.Error(), "CANARY") {
		t.Fatal("something was written, or said")
	}
}

type forgetfulAndSilent struct{}

func (forgetfulAndSilent) Encode(string, any) (string, error) { return "", errors.New("CANARY") }
func (forgetfulAndSilent) Decode(string, string, any) error   { return errors.New("CANARY") }
