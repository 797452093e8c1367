package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
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
	return checkLimits(map[string]int{
		"open_channel": l.OpenChannel, "open_channel_burst": l.OpenChannelBurst, "short_messages": l.ShortMessages,
		"resets": l.Resets, "log_lines": l.LogLines,
	})
}

// LineLimits bound what the CP of one line costs the AP, in a minute. 0 = no limit.
type LineLimits struct {
	Commands    int `toml:"at_commands"`
	OpenChannel int `toml:"open_channel"`
	LogLines    int `toml:"log_lines"`
}

var defaultLineLimits = LineLimits{Commands: 600, OpenChannel: 120, LogLines: 100}

func (l LineLimits) check() error {
	return checkLimits(map[string]int{"at_commands": l.Commands, "open_channel": l.OpenChannel, "log_lines": l.LogLines})
}

func checkLimits(limits map[string]int) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(limits)) {
		if n := limits[key]; n < 0 {
			errs = append(errs, fmt.Errorf("limits.%s: %d is negative; 0 = no limit", key, n))
		}
	}
	return errors.Join(errs...)
}
