package ptylink

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a password. It prints as *** in every verb of package fmt, in slog, JSON and TOML; only Reveal gives it. An
// empty one prints as nothing. It can be read from JSON and TOML. In a struct's unexported field package fmt cannot
// know it and prints it: keep it in exported fields.
type Secret string

const masked = "***"

// Reveal gives the password.
func (s Secret) Reveal() string { return string(s) }

// String gives *** for the password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format prints String whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalJSON gives *** to JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText gives *** to TOML. It belongs to the pointer since go-toml overlooks it in a value whose kind is string.
func (s *Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives *** to slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
