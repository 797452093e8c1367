package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bipd/ap"
	"bipd/bip"
	"bipd/cat"
	"bipd/ccid"
	"bipd/internal/sms"
	"bipd/trace"
)

// Bipd is bipd.toml.
type Bipd struct {
	Log      Log         `toml:"log"`
	Control  CardControl `toml:"control"`
	Terminal Terminal    `toml:"terminal"`
	Limits   Limits      `toml:"limits"`
	SMS      SMS         `toml:"sms"`
	Cards    []Card      `toml:"card"`
	Routes   []Route     `toml:"route"`
	Kernel   Kernel      `toml:"kernel"`
	Egress   Egress      `toml:"egress"`
}

// Terminal is what the cards hear of the terminal, and its limits.
type Terminal struct {
	IMEI           string   `toml:"imei"`            // 15 digits
	IMEISV         string   `toml:"imeisv"`          // 16 digits
	Location       string   `toml:"location"`        // hex: MCC and MNC, LAC or TAC, cell identity; empty = a test network
	LocationStatus string   `toml:"location_status"` // auto, normal, limited or none
	Language       string   `toml:"language"`        // two letters
	DisplayText    bool     `toml:"display_text"`    // a text in log and trace counts as shown
	PollInterval   Duration `toml:"poll_interval"`
	BufferLimit    int      `toml:"buffer_limit"` // octets
	ConnectTimeout Duration `toml:"connect_timeout"`
	SendTimeout    Duration `toml:"send_timeout"`
	FinishTime     Duration `toml:"finish_time"` // see bip.Config
}

// Card is one card: a CP of its own, with a reader and, for method 2 and %GETNET, a line to an AP. Where the reader is
// "ccid:*" it stands for one card in each slot of the USB readers that no other Card has taken; see ForSlot.
type Card struct {
	Name    string `toml:"name"`
	Reader  string `toml:"reader"`   // "ccid:<selector>", "pcsc:<reader name>", "vpcd:unix:<path>" or "vpcd:tcp:<address>"
	PINFile string `toml:"pin_file"` // file that holds the PIN and that only its owner may read
	// PINICCID is the ICCID of the one card that the PIN is tried on, in digits; empty = every card.
	PINICCID string `toml:"pin_iccid"`
	Line     *Line  `toml:"line"`

	PIN string         `toml:"-"` // from PINFile
	USB *ccid.Selector `toml:"-"` // from Reader; nil where that is no USB reader of our own
}

// EverySlot tells whether the card stands for one in each slot.
func (c *Card) EverySlot() bool {
	return c.USB != nil && *c.USB == ccid.Selector{Slot: c.USB.Slot}
}

// ForSlot is the card in one slot, "1-1.2.0", of those that it stands for.
func (c Card) ForSlot(id string) Card {
	c.Name = strings.ReplaceAll(c.Name, "*", id)
	if c.Line != nil {
		line := *c.Line
		line.Path = strings.ReplaceAll(line.Path, "*", id)
		c.Line = &line
	}
	return c
}

// Line is a card's line to the AP: a pseudo terminal that bipd makes, or with a speed a serial port.
type Line struct {
	Path         string    `toml:"path"`   // symbolic link to the pseudo terminal, which apd opens; the serial port's device
	Mode         string    `toml:"mode"`   // of the pseudo terminal, octal
	Group        string    `toml:"group"`  // its group; empty = bipd's own
	Speed        int       `toml:"speed"`  // of the serial port, bit/s; 0 = a pseudo terminal
	RTSCTS       bool      `toml:"rtscts"` // flow control of the serial port
	Multiplexer  bool      `toml:"multiplexer"`
	PayloadCheck string    `toml:"payload_check"` // auto, on or off; empty = auto
	N1           int       `toml:"n1"`            // octets in a frame; 0 = by the speed
	KeepAlive    *Duration `toml:"keep_alive"`    // nil = 5 s
}

// Route is one rule of the route table.
type Route struct {
	Bearers      []string `toml:"bearers"`
	AccessNames  []string `toml:"access_names"`
	Transports   []string `toml:"transports"`
	Destinations []string `toml:"destinations"`
	Method       int      `toml:"method"`
}

// DefaultBipd is what holds where bipd.toml says nothing. It has no card.
func DefaultBipd() *Bipd {
	return &Bipd{
		Log:     Log{"info", "text"},
		Control: CardControl{Control: Control{Socket: "/run/bipd/bipd.sock"}},
		Limits:  defaultLimits,
		SMS:     SMS{HookTimeout: Duration{sms.DefaultHookTimeout}},
		Terminal: Terminal{
			IMEI: "001010123456788", LocationStatus: "auto", Language: "en", PollInterval: Duration{30 * time.Second}, BufferLimit: 16384,
			ConnectTimeout: Duration{30 * time.Second}, SendTimeout: Duration{10 * time.Second}, FinishTime: Duration{30 * time.Second},
		},
	}
}

// LoadBipd reads and checks bipd.toml.
func LoadBipd(file string) (*Bipd, error) {
	c := DefaultBipd()
	if err := decodeFile(file, c); err != nil {
		return nil, err
	}
	c.Egress.file = file
	if err := c.check(); err != nil {
		return nil, &Error{File: file, Err: err}
	}
	return c, nil
}

func (c *Bipd) check() error {
	errs := []error{c.Log.check(), c.Control.check(), c.Terminal.check(), c.Limits.check(), c.SMS.check()}
	if len(c.Cards) == 0 {
		c.Cards = []Card{{Name: "*", Reader: "ccid:*"}}
	}
	names, paths, places := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range c.Cards {
		card := &c.Cards[i]
		if err := card.check(); err != nil {
			errs = append(errs, fmt.Errorf("card %d (%s): %w", i+1, card.Name, err))
			continue
		}
		if names[card.Name] {
			errs = append(errs, fmt.Errorf("card %d: the name %q is taken", i+1, card.Name))
		}
		names[card.Name] = true
		if card.Line != nil {
			if paths[card.Line.Path] {
				errs = append(errs, fmt.Errorf("card %d (%s): the line %s is taken", i+1, card.Name, card.Line.Path))
			}
			paths[card.Line.Path] = true
		}
		if card.USB != nil && (card.USB.Path != "" || card.EverySlot()) { // by other criteria two readers may fit
			if places[card.USB.String()] {
				errs = append(errs, fmt.Errorf("card %d (%s): the reader %s is another card's", i+1, card.Name, card.Reader))
			}
			places[card.USB.String()] = true
		}
	}
	errs = append(errs, c.Kernel.check())
	_, err := c.Rules()
	errs = append(errs, err)
	errs = append(errs, c.Egress.check("kernel.dns", c.Kernel.DNS, ap.Profile{}), c.Egress.withoutProfiles())
	return errors.Join(errs...)
}

func (t Terminal) check() error {
	var errs []error
	for _, id := range []struct {
		key, value string
		digits     int
	}{{"imei", t.IMEI, 15}, {"imeisv", t.IMEISV, 16}} {
		if id.value != "" && (len(id.value) != id.digits || strings.Trim(id.value, "0123456789") != "") {
			errs = append(errs, fmt.Errorf("terminal.%s: %q has not %d digits", id.key, id.value, id.digits))
		}
	}
	if t.Language != "" && len(t.Language) != 2 {
		errs = append(errs, fmt.Errorf("terminal.language: %q has not two letters", t.Language))
	}
	if loc, err := hex.DecodeString(t.Location); err != nil || (len(loc) != 0 && len(loc) != 7 && len(loc) != 9) {
		errs = append(errs, fmt.Errorf("terminal.location: %q is not 7 or 9 octets in hex", t.Location))
	}
	if _, ok := locationStates[t.LocationStatus]; !ok && t.LocationStatus != locationAuto {
		errs = append(errs, fmt.Errorf("terminal.location_status: %q is none of auto, normal, limited, none", t.LocationStatus))
	}
	if t.PollInterval.Duration < time.Second {
		errs = append(errs, errors.New("terminal.poll_interval: less than 1s"))
	}
	if t.BufferLimit < 1 || t.BufferLimit > 65535 {
		errs = append(errs, fmt.Errorf("terminal.buffer_limit: %d is not 1 to 65535 octets", t.BufferLimit))
	}
	if t.ConnectTimeout.Duration == 0 || t.SendTimeout.Duration == 0 || t.FinishTime.Duration == 0 {
		errs = append(errs, errors.New("terminal.connect_timeout, send_timeout and finish_time: 0s would fail every connection"))
	}
	return errors.Join(errs...)
}

// LocalInfo is what PROVIDE LOCAL INFORMATION answers, beside the location.
func (t Terminal) LocalInfo() *cat.LocalInfo {
	return &cat.LocalInfo{IMEI: t.IMEI, IMEISV: t.IMEISV, Language: t.Language, Now: time.Now}
}

// locationAuto is the location_status that follows the network; locationStates are the others.
const locationAuto = "auto"

var locationStates = map[string]byte{"normal": cat.LocationNormal, "limited": cat.LocationLimited, "none": cat.LocationNoService}

// Where is what cards hear of the service: the location information, nil where none is given, and the status, unless it follows
// the network and is not fixed.
func (t Terminal) Where() (where cat.Location, fixed bool) {
	if t.Location != "" {
		where.Info, _ = hex.DecodeString(t.Location) // checked at load
	}
	where.Status, fixed = locationStates[t.LocationStatus]
	return where, fixed
}

func (c *Card) check() error {
	if c.Name == "" || strings.ContainsAny(c.Name, "/\x00 ") {
		return fmt.Errorf("name: %q; a name is needed, without blanks and slashes", c.Name)
	}
	if err := c.checkReader(); err != nil {
		return err
	}
	if n := len(c.PINICCID); n > 0 && (n < 18 || n > 20 || strings.Trim(c.PINICCID, "0123456789") != "") {
		return fmt.Errorf("pin_iccid: %q has not 18 to 20 digits", c.PINICCID)
	}
	if c.PINICCID != "" && c.PINFile == "" {
		return errors.New("pin_iccid: there is no pin_file")
	}
	if c.PINFile != "" {
		pin, err := ReadSecretFile(c.PINFile)
		if err != nil {
			return fmt.Errorf("pin_file: %w", err)
		}
		if len(pin) < 4 || len(pin) > 8 || strings.Trim(pin, "0123456789") != "" {
			return fmt.Errorf("pin_file: %s does not hold 4 to 8 digits", c.PINFile)
		}
		c.PIN = pin
	}
	if c.Line != nil {
		return c.Line.check()
	}
	return nil
}

// ReaderForms are the forms of a reader's name, for people.
const ReaderForms = "ccid:<selector>, pcsc:<reader name>, vpcd:unix:<path>, vpcd:tcp:<address>"

// checkReader reads the name of the reader. What stands for many cards must be told apart by *, and nothing else has it.
func (c *Card) checkReader() error {
	kind, rest, _ := strings.Cut(c.Reader, ":")
	if !slices.Contains([]string{"ccid", "pcsc", "vpcd"}, kind) || rest == "" {
		return fmt.Errorf("reader: %q is none of %s", c.Reader, ReaderForms)
	}
	c.USB = nil
	if kind == "ccid" {
		sel, err := ccid.ParseSelector(rest)
		if err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		c.USB = &sel
	}
	star := strings.Contains(c.Name, "*")
	switch {
	case star && !c.EverySlot():
		return fmt.Errorf("name: %q: * stands for a slot, which only the cards of ccid:* have in their names", c.Name)
	case !c.EverySlot():
	case !star:
		return fmt.Errorf("name: %q: the cards of %s need a * in it, which stands for the slot", c.Name, c.Reader)
	case c.Line != nil && c.Line.Path != "" && !strings.Contains(c.Line.Path, "*"):
		return fmt.Errorf("line.path: %q: the cards of %s need a * in it, which stands for the slot", c.Line.Path, c.Reader)
	}
	return nil
}

func (l *Line) check() error {
	if l.Path == "" {
		return errors.New("line.path: missing")
	}
	if _, err := l.FileMode(); err != nil {
		return err
	}
	if err := checkNotPTY(l.Path); err != nil {
		return fmt.Errorf("line.%w", err)
	}
	if _, err := lookupGroup(l.Group); err != nil {
		return fmt.Errorf("line.%w", err)
	}
	if err := checkUART(l.Speed, l.RTSCTS); err != nil {
		return fmt.Errorf("line.%w", err)
	}
	if _, ok := checkModes[l.PayloadCheck]; !ok {
		return fmt.Errorf("line.payload_check: %q is none of auto, on, off", l.PayloadCheck)
	}
	if l.PayloadCheck == "on" && !l.Multiplexer {
		return errors.New("line.payload_check: on: a line without multiplexer has none")
	}
	if err := checkN1(l.N1); err != nil {
		return fmt.Errorf("line.%w", err)
	}
	return nil
}

// FileMode is the mode of the pseudo terminal; where none is given 0600, or 0660 with a group.
func (l *Line) FileMode() (fs.FileMode, error) {
	switch {
	case l.Mode == "" && l.Group == "":
		return 0o600, nil
	case l.Mode == "":
		return 0o660, nil
	}
	m, err := strconv.ParseUint(l.Mode, 8, 9)
	if err != nil {
		return 0, fmt.Errorf("line.mode: %q is no octal file mode", l.Mode)
	}
	return fs.FileMode(m), nil
}

var bearerNames = map[string]cat.BearerType{
	"packet": cat.BearerPacket, "default": cat.BearerDefault, "cdma2000": cat.BearerCDMA, "utran": cat.BearerUTRAN,
	"wlan": cat.BearerWLAN, "e-utran": cat.BearerEUTRAN, "ng-ran": cat.BearerNGRAN,
}

// Rules are the route table's rules.
func (c *Bipd) Rules() ([]bip.Rule, error) {
	var rules []bip.Rule
	var errs []error
	for i, r := range c.Routes {
		rule, err := r.compile()
		if err != nil {
			errs = append(errs, fmt.Errorf("route %d: %w", i+1, err))
		}
		rules = append(rules, rule)
	}
	return rules, errors.Join(errs...)
}

func (r Route) compile() (bip.Rule, error) {
	rule := bip.Rule{AccessNames: r.AccessNames, Networks: r.Transports, Method: trace.Method(r.Method)}
	if r.Method != 1 && r.Method != 2 {
		return rule, fmt.Errorf("method: %d is neither 1 nor 2", r.Method)
	}
	for _, b := range r.Bearers {
		t, ok := bearerNames[b]
		if !ok {
			return rule, fmt.Errorf("bearers: %q is none of packet, default, cdma2000, utran, wlan, e-utran, ng-ran", b)
		}
		rule.Bearers = append(rule.Bearers, t)
	}
	for _, t := range r.Transports {
		if !slices.Contains([]string{"tcp", "udp"}, t) {
			return rule, fmt.Errorf("transports: %q is neither tcp nor udp", t)
		}
	}
	for _, d := range r.Destinations {
		p, err := netip.ParsePrefix(d)
		if err != nil {
			return rule, fmt.Errorf("destinations: %w", err)
		}
		rule.Destinations = append(rule.Destinations, p)
	}
	return rule, nil
}
