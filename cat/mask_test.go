package cat

import (
	"bytes"
	"net/netip"
	"testing"
)

// secretCommand is an OPEN CHANNEL with a login and a password.
func secretCommand() []byte {
	login, password := NewText("alpha-login"), NewText("omega-word")
	to := netip.MustParseAddr("192.0.2.1")
	return NewCommand(1, OpenImmediate, &OpenChannel{
		Bearer: &BearerDescription{Type: BearerDefault}, BufferSize: 1400, Login: &login, Password: &password,
		Transport: &TransportLevel{Protocol: TCPClientRemote, Port: 80}, Destination: &to,
	}).Append(nil)
}

func TestMask(t *testing.T) {
	whole := secretCommand()
	before := bytes.Clone(whole)
	masked := Mask(whole)
	if !bytes.Equal(whole, before) {
		t.Error("Mask has changed the command itself")
	}
	c, err := ParseCommand(masked)
	if err != nil {
		t.Fatalf("the masked command cannot be read: %v", err)
	}
	o := c.Body.(*OpenChannel)
	if o.Destination.String() != "192.0.2.1" || len(o.Login.Data) != len("alpha-login") {
		t.Errorf("masked command has lost more than the secrets: %+v", o)
	}
	timer := NewCommand(2, 1, &TimerManagement{Timer: 1}).Append(nil)
	if !bytes.Equal(Mask(timer), timer) {
		t.Error("another command was masked")
	}
	if len(Mask(nil)) != 0 {
		t.Error("Mask made something of nothing")
	}
}

// Whatever is cut off, or wrong in one octet, neither secret shows.
func TestMaskBroken(t *testing.T) {
	whole := secretCommand()
	check := func(what string, at int, b []byte) {
		got := Mask(b)
		if len(got) != len(b) {
			t.Fatalf("%s %d: %d octets became %d", what, at, len(b), len(got))
		}
		for _, secret := range []string{"alpha", "login", "omega", "word"} {
			if bytes.Contains(got, []byte(secret)) {
				t.Errorf("%s %d: % X shows %q", what, at, got, secret)
			}
		}
	}
	for at := range whole {
		check("cut at", at, whole[:at])
		for _, wrong := range []byte{0x00, 0x7F, 0x80, 0xFF} {
			b := bytes.Clone(whole)
			b[at] = wrong
			if at != 5 { // the type: it makes another command
				check("wrong octet", at, b)
			}
		}
	}
}

// FuzzMask: the length stays, masking twice is masking once, and what can be read still has no secret.
func FuzzMask(f *testing.F) {
	f.Add(secretCommand())
	f.Add(secretCommand()[:40])
	f.Add([]byte{0xD0, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := Mask(b)
		if len(got) != len(b) || !bytes.Equal(Mask(got), got) {
			t.Fatalf("% X masked is % X, twice % X", b, got, Mask(got))
		}
		c, err := ParseCommand(got)
		if err != nil {
			return
		}
		if o, ok := c.Body.(*OpenChannel); ok {
			for _, text := range []*Text{o.Login, o.Password} {
				if text != nil && (text.DCS != 0 || len(bytes.Trim(text.Data, "\x00")) > 0) {
					t.Fatalf("% X masked shows % X", b, text.Data)
				}
			}
		}
	})
}
