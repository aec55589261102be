package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// What prints a Session or a Config prints a placeholder, a copy of it too. ATK-S05

const (
	redactedSession = "session [redacted]"
	redactedConfig  = "session configuration [redacted]"
)

var errSerialised = errors.New("sallyport: sessions and keys are not serialised")

// String returns a placeholder.
func (s Session) String() string { return redactedSession }

// GoString returns a placeholder.
func (s Session) GoString() string { return redactedSession }

// Format writes a placeholder for every verb.
func (s Session) Format(f fmt.State, _ rune) { io.WriteString(f, redactedSession) }

// MarshalJSON returns a placeholder.
func (s Session) MarshalJSON() ([]byte, error) { return json.Marshal(redactedSession) }

// MarshalText returns a placeholder.
func (s Session) MarshalText() ([]byte, error) { return []byte(redactedSession), nil }

// LogValue returns a placeholder.
func (s Session) LogValue() slog.Value { return slog.StringValue(redactedSession) }

// GobEncode refuses: a gob stream is meant to be read back.
func (s Session) GobEncode() ([]byte, error) { return nil, errSerialised }

// String returns a placeholder: the keys are in there.
func (c Config) String() string { return redactedConfig }

// GoString returns a placeholder.
func (c Config) GoString() string { return redactedConfig }

// Format writes a placeholder for every verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, redactedConfig) }

// MarshalJSON refuses: what cannot be read back must not look as if it could.
func (c Config) MarshalJSON() ([]byte, error) { return nil, errSerialised }

// LogValue returns a placeholder.
func (c Config) LogValue() slog.Value { return slog.StringValue(redactedConfig) }

// GobEncode refuses.
func (c Config) GobEncode() ([]byte, error) { return nil, errSerialised }
