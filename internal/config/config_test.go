package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bipd/bip"
	"bipd/cat"
	"bipd/trace"
)

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// The examples show every key, so they must load, and their values are the defaults where they say so.
func TestExamples(t *testing.T) {
	b, err := LoadBipd("../../examples/bipd.toml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := b.Rules()
	if err != nil || len(rules) != 1 || rules[0].Method != trace.Method1 || rules[0].Bearers[1] != cat.BearerWLAN {
		t.Errorf("rules %+v, %v", rules, err)
	}
	ports, err := b.Kernel.PortRanges()
	if err != nil || !slices.Equal(ports, []bip.PortRange{{First: 8000, Last: 8100}}) {
		t.Errorf("ports to listen on %v, %v", ports, err)
	}
	clients, err := b.Kernel.Clients()
	if err != nil || !slices.Equal(clients, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}) {
		t.Errorf("clients of cards %v, %v", clients, err)
	}
	if len(b.Cards) != 4 || b.Cards[0].Line == nil || !b.Cards[0].Line.Multiplexer || !b.Cards[1].EverySlot() || b.Cards[3].Line != nil {
		t.Errorf("cards %+v", b.Cards)
	}
	if l := b.Cards[0].Line; muxKeepAlive(l.KeepAlive) <= 0 || muxKeepAlive(new(Duration)) >= 0 || muxKeepAlive(nil) != 0 {
		t.Errorf("keep-alive %v", l.KeepAlive)
	}
	if m, err := b.Cards[0].Line.FileMode(); m != 0o660 || err != nil {
		t.Errorf("mode %o, %v", m, err)
	}
	least, err := LoadBipd(write(t, "bipd.toml", "[[card]]\nname=\"c\"\nreader=\"vpcd:unix:/x\"\n", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if least.Terminal != b.Terminal || least.Log != b.Log || least.Control != b.Control || least.Limits != b.Limits {
		t.Errorf("the example does not show the defaults: %+v, %+v", b.Terminal, least.Terminal)
	}
	a, err := LoadApd("../../examples/apd.toml")
	if err != nil || len(a.Lines) != 2 || a.Limits != defaultLineLimits || a.LinesDir == "" || a.Lines[1].Speed == 0 || len(a.Egress.Rules) != 1 {
		t.Errorf("apd.toml: %+v, %v", a, err)
	}
	profiles, err := os.ReadFile("../../examples/profiles.toml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := LoadProfiles(write(t, "profiles.toml", string(profiles), 0o600), Egress{})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := p.Lookup("OTA.example", "card0"); ok != nil || got.User != "card" || got.Password.Reveal() != "secret" {
		t.Errorf("profile %+v, %v", got, ok)
	}
}

const card = "[[card]]\nname = \"c\"\nreader = \"vpcd:unix:/x\"\n"

func TestBipdFaults(t *testing.T) {
	open := write(t, "pin", "1234\n", 0o644)
	letters := write(t, "pin", "12a4\n", 0o600)
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":        {"[terminal]\nimie = \"1\"\n" + card, ":2: terminal.imie: unknown key"},
		"unknown in card":    {card + "colour = 1\n", ":4: card.colour: unknown key"},
		"wrong type":         {"[terminal]\nbuffer_limit = \"big\"\n" + card, ":2: terminal.buffer_limit: "},
		"negative limit":     {"[limits]\nresets = -1\n" + card, "limits.resets: -1 is negative"},
		"no address":         {"[kernel]\ndns = [\"server\"]\n" + card, `:2: kernel.dns: "server" is not an IP address`},
		"long socket path":   {"[control]\nsocket = \"/" + strings.Repeat("x", 107) + "\"\n" + card, "control.socket: 108 octets are too many"},
		"abstract socket":    {"[control]\nsocket = \"@x\"\n" + card, `control.socket: "@x" is no file`},
		"no TOML":            {"[terminal\n", ":1: "},
		"text for number":    {"[limits]\nresets = \"x\"\n" + card, ":2: limits.resets: has the type string; write a whole number"},
		"fraction":           {"[limits]\nlog_lines = 1.5\n" + card, ":2: limits.log_lines: has the type float; write a whole number"},
		"bare time":          {"[terminal]\nfinish_time = 30\n" + card, `bipd.toml: 30 is no time; write it in quotes with its unit, "30s"`},
		"bare keep-alive":    {card + "[card.line]\npath = \"/x\"\nkeep_alive = 5\n", `bipd.toml: 5 is no time; write it in quotes`},
		"bad duration":       {"[terminal]\npoll_interval = \"soon\"\n" + card, ":2: terminal.poll_interval: soon is no time; write it in quotes with its unit"},
		"negative duration":  {"[terminal]\npoll_interval = \"-1s\"\n" + card, "-1s is negative"},
		"no name":            {"[[card]]\nreader = \"vpcd:unix:/x\"\n", "card 1 (): name"},
		"unknown reader":     {"[[card]]\nname = \"c\"\nreader = \"usb\"\n", `reader: "usb" is none of ccid:<selector>, pcsc:`},
		"no selector":        {"[[card]]\nname = \"c\"\nreader = \"ccid:\"\n", `reader: "ccid:" is none of ccid:<selector>, pcsc:`},
		"unknown selector":   {"[[card]]\nname = \"c\"\nreader = \"ccid:port=1\"\n", `card 1 (c): reader: ccid: bad reader selector: unknown key "port"`},
		"bad slot":           {"[[card]]\nname = \"c\"\nreader = \"ccid:path=1-1,slot=x\"\n", `slot "x" is not a number`},
		"all in one name":    {"[[card]]\nname = \"c\"\nreader = \"ccid:*\"\n", `name: "c": the cards of ccid:* need a * in it`},
		"all on one line":    {"[[card]]\nname = \"*\"\nreader = \"ccid:*\"\n[card.line]\npath = \"/x\"\n", `line.path: "/x": the cards of ccid:* need a *`},
		"star of one":        {"[[card]]\nname = \"c*\"\nreader = \"ccid:path=1-1\"\n", `name: "c*": * stands for a slot`},
		"two at one place":   {usbCard("a", "path=1-1") + usbCard("b", "path=1-1,slot=0"), "card 2 (b): the reader ccid:path=1-1,slot=0 is another card's"},
		"all of them twice":  {usbCard("a*", "*") + usbCard("b*", "*"), "card 2 (b*): the reader ccid:* is another card's"},
		"two of a name":      {card + card, `the name "c" is taken`},
		"line without path":  {card + "[card.line]\n", "line.path: missing"},
		"line's mode":        {card + "[card.line]\npath = \"/x\"\nmode = \"9\"\n", `line.mode: "9" is no octal file mode`},
		"line's group":       {card + "[card.line]\npath = \"/x\"\ngroup = \"no-such-group\"\n", `line.group: there is no group "no-such-group"`},
		"line at a pty":      {card + "[card.line]\npath = \"/dev/pts/5\"\nspeed = 9600\n", "line.path: /dev/pts/5 may be anybody's terminal tomorrow"},
		"line of two":        {card + "[card.line]\npath = \"/x\"\n" + usbCard("d", "path=1-1") + "[card.line]\npath = \"/x\"\n", "card 2 (d): the line /x is taken"},
		"N1":                 {card + "[card.line]\npath = \"/x\"\nn1 = 1500\n", "line.n1: 1500"},
		"N1 below all":       {card + "[card.line]\npath = \"/x\"\nn1 = 30\n", "line.n1: 30"},
		"speed":              {card + "[card.line]\npath = \"/x\"\nspeed = 777\n", "line.speed: 777"},
		"RTS without speed":  {card + "[card.line]\npath = \"/x\"\nrtscts = true\n", "line.rtscts: "},
		"check without mux":  {card + "[card.line]\npath = \"/x\"\nmultiplexer = false\npayload_check = \"on\"\n", `line.payload_check: on: a line without`},
		"payload check":      {card + "[card.line]\npath = \"/x\"\npayload_check = \"yes\"\n", `line.payload_check: "yes" is none`},
		"PIN for all to see": {card + "pin_file = \"" + open + "\"\n", "has mode 0644, so that others than its owner have access: chmod 600"},
		"no PIN":             {card + "pin_file = \"" + letters + "\"\n", "does not hold 4 to 8 digits"},
		"IMEI":               {"[terminal]\nimei = \"12\"\n" + card, `terminal.imei: "12" has not 15 digits`},
		"location":           {"[terminal]\nlocation = \"00f1\"\n" + card, "terminal.location"},
		"buffer limit":       {"[terminal]\nbuffer_limit = 0\n" + card, "terminal.buffer_limit: 0"},
		"buffer over 65535":  {"[terminal]\nbuffer_limit = 65536\n" + card, "terminal.buffer_limit: 65536"},
		"method":             {card + "[[route]]\nmethod = 3\n", "route 1: method: 3 is neither 1 nor 2"},
		"bearer":             {card + "[[route]]\nmethod = 1\nbearers = [\"gprs\"]\n", `bearers: "gprs" is none of`},
		"destination":        {card + "[[route]]\nmethod = 1\ndestinations = [\"10.0.0.1\"]\n", "destinations: "},
		"egress":             {card + "[[egress.rule]]\naction = \"maybe\"\n", "maybe"},
		"rule for a profile": {card + "[[egress.rule]]\naction = \"deny\"\nprofiles = [\"ota\"]\n", "egress: rule 1: profiles: only apd knows them"},
		"listen":             {"[kernel]\nlisten = \"localhost\"\n" + card, `kernel.listen: "localhost" is not an IP address`},
		"listen port":        {"[kernel]\nlisten_ports = [\"8000\", \"0\"]\n" + card, `kernel.listen_ports: "0" is neither`},
		"listen port large":  {"[kernel]\nlisten_ports = [\"8000-65536\"]\n" + card, `kernel.listen_ports: "8000-65536" is neither`},
		"listen port range":  {"[kernel]\nlisten_ports = [\"8100-8000\"]\n" + card, `kernel.listen_ports: "8100-8000" is neither`},
		"no listen port":     {"[kernel]\nlisten_ports = []\n" + card, "kernel.listen_ports: empty list"},
		"listen from":        {"[kernel]\nlisten_from = [\"lan\"]\n" + card, `kernel.listen_from: "lan" is neither`},
		"listen from bits":   {"[kernel]\nlisten_from = [\"192.0.2.1/24\"]\n" + card, "did you mean 192.0.2.0/24?"},
		"finish time":        {"[terminal]\nfinish_time = \"0s\"\n" + card, "terminal.connect_timeout, send_timeout and finish_time"},
		"no such group":      {"[control]\ngroup = \"no-such-group\"\n" + card, `control.group: there is no group "no-such-group"`},
		"root's group":       {"[control]\ngroup = \"root\"\n" + card, `control.group: "root" is root's group`},
		"root's group by id": {"[control]\ngroup = \"0\"\n" + card, `control.group: "0" is root's group`},
		"log level":          {"[log]\nlevel = \"loud\"\n" + card, `log.level: "loud" is none of debug, info, warn, error`},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "bipd.toml", tc.text, 0o644)
			_, err := LoadBipd(file)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), file) {
				t.Errorf("got  %v\nwant %s...%s", err, file, tc.want)
			}
			if err == nil {
				return
			}
			said := strings.ReplaceAll(err.Error(), filepath.Dir(file), "") // whose digits are random
			if strings.Contains(said, "1234") || strings.Contains(said, "12a4") {
				t.Errorf("the error shows the PIN: %v", err)
			}
		})
	}
	if _, err := LoadBipd("/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func usbCard(name, selector string) string {
	return "[[card]]\nname = \"" + name + "\"\nreader = \"ccid:" + selector + "\"\n"
}

// Without any card every slot of every USB reader is served.
func TestNoCard(t *testing.T) {
	for _, text := range []string{"", "[log]\nlevel = \"debug\"\n"} {
		c, err := LoadBipd(write(t, "bipd.toml", text, 0o644))
		if err != nil || len(c.Cards) != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		if card := c.Cards[0]; card.Name != "*" || card.Reader != "ccid:*" || !card.EverySlot() {
			t.Errorf("card %+v", card)
		}
	}
}

func TestUSBCards(t *testing.T) {
	text := usbCard("a", "path=1-1.2,slot=1") + usbCard("b", "id=08e6:3437") + usbCard("c", "id=08e6:3437") + // two of a kind
		usbCard("d", "serial=X") + usbCard("e", "name=PC Twin") + usbCard("sim-*", "*") + "[card.line]\npath = \"/run/bipd/*\"\n" +
		usbCard("second-*", "*,slot=1")
	c, err := LoadBipd(write(t, "bipd.toml", text, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"path=1-1.2,slot=1", "id=08e6:3437", "id=08e6:3437", "serial=X", "name=PC Twin", "*", "*,slot=1"} {
		card := c.Cards[i]
		if card.USB == nil || card.USB.String() != want || card.EverySlot() != (i >= 5) {
			t.Errorf("card %d: %v, every slot %v; want %s", i+1, card.USB, card.EverySlot(), want)
		}
	}
	one := c.Cards[5].ForSlot("1-1.2.0")
	if one.Name != "sim-1-1.2.0" || one.Line.Path != "/run/bipd/1-1.2.0" || c.Cards[5].Line.Path != "/run/bipd/*" {
		t.Errorf("one card of all: %+v, %+v", one, c.Cards[5])
	}
	plain, err := LoadBipd(write(t, "bipd.toml", card, 0o644))
	if err != nil || plain.Cards[0].USB != nil || plain.Cards[0].EverySlot() {
		t.Errorf("a card in no USB reader: %+v, %v", plain.Cards, err)
	}
}

// The mode of a line lets nobody but the user in, unless it or a group says so.
func TestLineMode(t *testing.T) {
	for text, want := range map[string]os.FileMode{
		"": 0o600, "group = \"12345\"\n": 0o660, "mode = \"0640\"\n": 0o640, "mode = \"600\"\ngroup = \"12345\"\n": 0o600,
	} {
		c, err := LoadBipd(write(t, "bipd.toml", card+"[card.line]\npath = \"/x\"\n"+text, 0o644))
		if err != nil {
			t.Fatal(err)
		}
		if mode, err := c.Cards[0].Line.FileMode(); err != nil || mode != want {
			t.Errorf("%q: mode %o, %v, want %o", text, mode, err, want)
		}
	}
}

// A user is given by name or number.
func TestLinesOwner(t *testing.T) {
	for owner, want := range map[string]int{"": 0, "root": 0, "12345": 12345} {
		c, err := LoadApd(write(t, "apd.toml", "profiles = \"/x\"\nlines = \"/x\"\nlines_owner = \""+owner+"\"\n", 0o644))
		if err != nil || c.LinesUID() != want {
			t.Errorf("%q: user %d, %v", owner, c.LinesUID(), err)
		}
	}
}

func TestPIN(t *testing.T) {
	pin := write(t, "pin", "1234\n", 0o600)
	c, err := LoadBipd(write(t, "bipd.toml", card+"pin_file = \""+pin+"\"\n", 0o644))
	if err != nil || c.Cards[0].PIN != "1234" {
		t.Errorf("PIN %q, %v", c.Cards[0].PIN, err)
	}
}

func TestApdFaults(t *testing.T) {
	const line = "profiles = \"/x\"\n[[line]]\nname = \"c\"\npath = \"/y\"\n"
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key": {line + "colour = 1\n", ":5: line.colour: unknown key"},
		"no line":     {"profiles = \"/x\"\n", "no [[line]] and no lines"},
		"no profiles": {"[[line]]\nname = \"c\"\npath = \"/y\"\n", "profiles: missing"},
		"no path":     {"profiles = \"/x\"\n[[line]]\nname = \"c\"\n", "line 1: name and path are needed"},
		"no link":     {"profiles = \"/x\"\n[[line]]\nname = \"c\"\npath = \"/dev//pts/5\"\n", "line 1: path: /dev//pts/5 may be anybody's terminal tomorrow"},
		"no user":     {line[:len("profiles = \"/x\"\n")] + "lines = \"/x\"\nlines_owner = \"no-such-user\"\n", `lines_owner: there is no user "no-such-user"`},
		"two":         {line + "[[line]]\nname = \"c\"\npath = \"/z\"\n", `line 2: the name "c" is taken`},
		"N1":          {line + "n1 = 7\n", "line 1: n1: 7"},
		"speed":       {line + "speed = 1\n", "line 1: speed: 1 bit/s"},
		"RTS":         {line + "rtscts = true\n", "line 1: rtscts: "},
		"group":       {line + "[control]\ngroup = \"no-such-group\"\n", "control.group: there is no group"},
		"limit":       {line + "[limits]\nat_commands = -1\n", "limits.at_commands: -1 is negative"},
		"timeout":     {line + "[proxy]\nconnect_timeout = \"0s\"\n", "proxy.connect_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadApd(write(t, "apd.toml", tc.text, 0o644))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestProfilesFaults(t *testing.T) {
	const profile = "[[profile]]\nname = \"a\"\npassword = \"hidden\"\n"
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"for all to see": {profile, 0o644, "0644"},
		"unknown key":    {profile + "colour = 1\n", 0o600, ":4: profile.colour: unknown key"},
		"wrong type":     {"[[profile]]\nname = \"a\"\npassword = [\"hidden\"]\n", 0o600, ":3: "},
		"long password":  {"[[profile]]\nname = \"a\"\npassword = \"" + strings.Repeat("hidden", 20) + "\"\n", 0o600, "password: it is longer than 64 octets"},
		"two of a name":  {profile + profile, 0o600, "another profile has it already"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadProfiles(write(t, "profiles.toml", tc.text, tc.mode), Egress{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(card))
	f.Add([]byte("[[card]]\nname = 1\n[terminal]\npoll_interval = \"1h\"\n[[egress.rule]]\nprefix = [\"::/0\"]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Bipd
		if decode("f", text, &c) == nil {
			c.check() // must not panic, whatever was read
		}
	})
}
