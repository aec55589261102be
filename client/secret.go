package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

const redacted = "[redacted]"

// Secret is a string that no printing interface reveals: fmt (except %p, and %w on what
// is no error, which go vet reports), encoding/json,
// encoding/gob, log/slog. In an unexported field of another type fmt cannot see
// that it is one: such a type needs a Format method of its own. Convert it with
// string(s) where its value is needed, and only there.
type Secret string

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format writes a placeholder for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns a placeholder. encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns a placeholder.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// GobEncode refuses: a gob stream is meant to be read back, and a placeholder would be lost silently.
func (s Secret) GobEncode() ([]byte, error) {
	return nil, errors.New("sallyport: a Secret is not serialised")
}

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Secret makes a literal secret its own [SecretSource].
func (s Secret) Secret(context.Context) (Secret, error) { return s, nil }

// SecretSource yields the client secret. It is asked for every request, so a
// rotated secret needs no restart. It may be called concurrently.
type SecretSource interface {
	Secret(ctx context.Context) (Secret, error)
}

// SecretFunc makes a function a [SecretSource], for example one that asks a vault
// and caches. The text of its error is not repeated, since it may hold what the
// vault said; errors.Is and errors.As find the error.
type SecretFunc func(ctx context.Context) (Secret, error)

// Secret calls f.
func (f SecretFunc) Secret(ctx context.Context) (Secret, error) { return f(ctx) }

// SecretFile reads the secret from a file at every use, without the line end
// that editors and `kubectl create secret` leave behind.
func SecretFile(path string) SecretSource {
	return SecretFunc(func(context.Context) (Secret, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			err = pathless(err)
			return "", &sourceError{"reading the client secret's file: " + err.Error(), err}
		}
		return Secret(bytes.TrimRight(b, "\r\n")), nil
	})
}

// sourceError is why a source gave no secret, in words that may be shown.
type sourceError struct {
	text  string
	cause error
}

func (e *sourceError) Error() string { return e.text }
func (e *sourceError) Unwrap() error { return e.cause }

func asSourceError(err error) error {
	if e, ok := err.(*sourceError); ok {
		return e
	}
	return &sourceError{"the source of the client secret failed", err}
}

// pathless drops the path from a file error: paths of secrets do not belong into logs.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
