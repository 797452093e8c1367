package config

import (
	"errors"
	"fmt"
	"time"

	"bipd/ap"
)

// Apd is apd.toml.
type Apd struct {
	Log      Log     `toml:"log"`
	Control  Control `toml:"control"`
	LinesDir string  `toml:"lines"` // directory in which bipd keeps its lines; empty = none
	// LinesOwner is a user who may own that directory besides root and apd's own; empty = nobody else.
	LinesOwner string     `toml:"lines_owner"`
	Lines      []APLine   `toml:"line"`
	Profiles   string     `toml:"profiles"` // file with the network profiles; it holds credentials, so that only its owner may read it
	Proxy      Proxy      `toml:"proxy"`
	Egress     Egress     `toml:"egress"`
	Limits     LineLimits `toml:"limits"`
}

// APLine is one line to a CP.
type APLine struct {
	Name      string    `toml:"name"`   // of the card behind it, in logs, traces and egress rules
	Path      string    `toml:"path"`   // terminal device, or a symbolic link to one
	Speed     int       `toml:"speed"`  // of a serial port, bit/s; 0 = a pseudo terminal
	RTSCTS    bool      `toml:"rtscts"` // flow control of a serial port
	N1        int       `toml:"n1"`     // octets in a frame where the CP does not say; 0 = 31
	KeepAlive *Duration `toml:"keep_alive"`
}

// Proxy are the limits of the connections that the AP makes.
type Proxy struct {
	ConnectTimeout Duration `toml:"connect_timeout"`
	FinishTime     Duration `toml:"finish_time"` // see ap.Config
}

// profilesFile is the file that Apd.Profiles names.
type profilesFile struct {
	Profiles []ap.Profile `toml:"profile"`
}

// LoadApd reads and checks apd.toml.
func LoadApd(file string) (*Apd, error) {
	c := &Apd{
		Log:     Log{"info", "text"},
		Control: Control{Socket: "/run/apd/apd.sock"},
		Limits:  defaultLineLimits,
		Proxy:   Proxy{ConnectTimeout: Duration{20 * time.Second}, FinishTime: Duration{30 * time.Second}},
	}
	if err := decodeFile(file, c); err != nil {
		return nil, err
	}
	c.Egress.file = file
	if err := c.check(); err != nil {
		return nil, &Error{File: file, Err: err}
	}
	return c, nil
}

func (c *Apd) check() error {
	errs := []error{c.Log.check(), c.Control.check()}
	if len(c.Lines) == 0 && c.LinesDir == "" {
		errs = append(errs, errors.New("no [[line]] and no lines: there is no CP to serve"))
	}
	names := map[string]bool{}
	for i, l := range c.Lines {
		if err := errors.Join(checkN1(l.N1), checkUART(l.Speed, l.RTSCTS)); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", i+1, err))
		}
		switch {
		case l.Name == "" || l.Path == "":
			errs = append(errs, fmt.Errorf("line %d: name and path are needed", i+1))
		case checkNotPTY(l.Path) != nil:
			errs = append(errs, fmt.Errorf("line %d: %w", i+1, checkNotPTY(l.Path)))
		case names[l.Name]:
			errs = append(errs, fmt.Errorf("line %d: the name %q is taken", i+1, l.Name))
		}
		names[l.Name] = true
	}
	if _, err := lookupUser(c.LinesOwner); err != nil {
		errs = append(errs, fmt.Errorf("lines_owner: %w", err))
	}
	if c.Profiles == "" {
		errs = append(errs, errors.New("profiles: missing: the file with the network profiles"))
	}
	errs = append(errs, c.Limits.check())
	if c.Proxy.ConnectTimeout.Duration == 0 || c.Proxy.FinishTime.Duration == 0 {
		errs = append(errs, errors.New("proxy.connect_timeout and finish_time: 0s would fail every connection"))
	}
	errs = append(errs, c.Egress.check("", nil, ap.Profile{}))
	return errors.Join(errs...)
}

// LinesUID is the id of LinesOwner; 0 = nobody. c was checked.
func (c *Apd) LinesUID() int {
	uid, _ := lookupUser(c.LinesOwner)
	return uid
}

// LoadProfiles reads and checks the network profiles. The file holds credentials: see readSecret for who may have access to it.
// A DNS server that the rules let no card reach is refused.
func LoadProfiles(file string, rules Egress) (*ap.Profiles, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	var f profilesFile
	if err := decode(file, text, &f); err != nil {
		return nil, err
	}
	p, err := ap.NewProfiles(f.Profiles)
	for i, profile := range f.Profiles {
		err = errors.Join(err, rules.check(fmt.Sprintf("profile %d (%q): dns", i+1, profile.Name), profile.DNS, profile))
	}
	if err != nil {
		return nil, &Error{File: file, Err: err}
	}
	return p, nil
}
