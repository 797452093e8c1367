package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// CardControl is the socket on which bipctl asks bipd, and what it may do beyond asking.
type CardControl struct {
	Control
	AllowAPDU bool `toml:"allow_apdu"` // raw APDUs to cards
}

// SMS says where short messages go that cards want sent. Without a spool and a hook they go nowhere, and cards hear that there is
// no service.
type SMS struct {
	Spool       string   `toml:"spool"` // directory for one file a message
	Hook        string   `toml:"hook"`  // program that is run with the message on its standard input
	HookTimeout Duration `toml:"hook_timeout"`
}

// Timeout is how long one run of the hook may take.
func (s SMS) Timeout() time.Duration { return s.HookTimeout.Duration }

// check wants what is configured to be there, so that a mistake shows at the start and not with the first message.
func (s SMS) check() error {
	switch {
	case s.Spool != "" && s.Hook != "":
		return errors.New("sms: spool and hook are both given: which of them is it?")
	case s.HookTimeout.Duration == 0:
		return errors.New("sms.hook_timeout: 0s would fail every message")
	case s.Spool != "":
		return checkSpool(s.Spool)
	case s.Hook != "":
		return checkHook(s.Hook)
	}
	return nil
}

func checkSpool(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("sms.spool: %w", err)
	case !st.IsDir():
		return fmt.Errorf("sms.spool: %s is no directory", dir)
	}
	return nil
}

func checkHook(file string) error {
	if !filepath.IsAbs(file) {
		return fmt.Errorf("sms.hook: %q is no absolute path", file)
	}
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return fmt.Errorf("sms.hook: %w", err)
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("sms.hook: %s is no program", file)
	}
	return nil
}
