// Package config reads the configuration files of bipd and apd. It is strict: an unknown key is an error that names
// file, line and key, for a misspelt option that is silently ignored is worse than none.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Error is a fault in a configuration file.
type Error struct {
	File string
	Line int // 0: the file as a whole
	Key  string
	Err  error
}

func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// decodeFile reads a TOML file into v, which holds the defaults.
func decodeFile(file string, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err // names the file
	}
	return decode(file, data, v)
}

func decode(file string, data []byte, v any) error {
	dec := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		return nil
	}
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		var all []error
		for _, e := range strict.Errors {
			line, _ := e.Position()
			all = append(all, &Error{file, line, strings.Join(e.Key(), "."), errors.New("unknown key")})
		}
		return errors.Join(all...)
	}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		line, _ := de.Position()
		return &Error{file, line, strings.Join(de.Key(), "."), errors.New(plainFault(de.Error()))}
	}
	return &Error{file, 0, "", err}
}

// wrongType is what the decoder says of a value of another type than the key's.
var wrongType = regexp.MustCompile(`^cannot decode TOML (\w+) into .* of type (\S+)$`)

// wanted says for each type of a key what to write.
var wanted = map[string]string{
	"int": "a whole number", "bool": "true or false", "string": "a text in quotes", "[]string": "a list of texts in quotes",
	"[]netip.Addr": "a list of addresses in quotes", "ptylink.Secret": "a text in quotes",
}

// notAddress is what the decoder says of a text that is no address.
var notAddress = regexp.MustCompile(`ParseAddr\((".*")\): `)

// plainFault says a fault of the decoder without the names of Go types and functions.
func plainFault(msg string) string {
	msg = strings.TrimPrefix(msg, "toml: ")
	if m := notAddress.FindStringSubmatch(msg); m != nil {
		return m[1] + " is not an IP address"
	}
	if m := wrongType.FindStringSubmatch(msg); m != nil && wanted[strings.TrimPrefix(m[2], "*")] != "" {
		return fmt.Sprintf("has the type %s; write %s", m[1], wanted[strings.TrimPrefix(m[2], "*")])
	}
	return msg
}

// Duration is a time span in the notation of the configuration: "30s", "1m30s". It is no number, so that a bare 30 is not
// taken for 30 ns.
type Duration struct{ time.Duration }

// UnmarshalText reads the notation. The span may not be negative.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	switch {
	case err != nil: // of a number the decoder does not tell the place, so the text has to
		return fmt.Errorf("%s is no time; write it in quotes with its unit, \"30s\" or \"1m30s\"", b)
	case v < 0:
		return fmt.Errorf("%s is negative", v)
	}
	d.Duration = v
	return nil
}

// MarshalText writes the notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Log says what is logged, and how.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // text or json
}

// Control is the socket on which bipctl asks.
type Control struct {
	Socket string `toml:"socket"` // path; empty = none
	Group  string `toml:"group"`  // whose members may ask besides the daemon's user; empty = none
}

// GID is the id of the group; 0 = none. c was checked.
func (c Control) GID() int { return gid(c.Group) }

// maxSocket is the longest path of a socket, in octets (sun_path of unix(7) without its NUL).
const maxSocket = 107

func (c Control) check() error {
	switch {
	case len(c.Socket) > maxSocket:
		return fmt.Errorf("control.socket: %d octets are too many for the path of a socket; %d is the most", len(c.Socket), maxSocket)
	case strings.HasPrefix(c.Socket, "@"): // an abstract one, which has neither mode nor group
		return fmt.Errorf("control.socket: %q is no file", c.Socket)
	}
	if _, err := lookupGroup(c.Group); err != nil {
		return fmt.Errorf("control.%w", err)
	}
	return nil
}

func oneOf(value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", value, strings.Join(allowed, ", "))
}

func (l Log) check() error {
	if err := oneOf(l.Level, "debug", "info", "warn", "error"); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	if err := oneOf(l.Format, "text", "json"); err != nil {
		return fmt.Errorf("log.format: %w", err)
	}
	return nil
}
