package config

import (
	"errors"
	"fmt"
)

// Limits bound what one card costs. 0 = no limit.
type Limits struct {
	OpenChannel      int `toml:"open_channel"`       // a minute
	OpenChannelBurst int `toml:"open_channel_burst"` // at once, after a rest
	ShortMessages    int `toml:"short_messages"`     // an hour
	Resets           int `toml:"resets"`             // a minute
	LogLines         int `toml:"log_lines"`          // a minute
}

var defaultLimits = Limits{OpenChannel: 60, OpenChannelBurst: 30, ShortMessages: 10, Resets: 6, LogLines: 100}

func (l Limits) check() error {
	var errs []error
	for _, v := range []struct {
		key   string
		value int
	}{
		{"open_channel", l.OpenChannel}, {"open_channel_burst", l.OpenChannelBurst}, {"short_messages", l.ShortMessages},
		{"resets", l.Resets}, {"log_lines", l.LogLines},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("limits.%s: %d is negative; 0 = no limit", v.key, v.value))
		}
	}
	return errors.Join(errs...)
}
