package softuicc

import (
	"strings"
	"testing"
)

// TestJudgeOfMenuSelections goes through what an ENVELOPE (menu selection) can have wrong.
func TestJudgeOfMenuSelections(t *testing.T) {
	offers := "09" + strings.TrimSpace(goodProfile)[2:]
	for _, s := range []scene{
		{name: "right", profile: offers, commands: all(more), steps: []string{"E:D307 82020181 900107", "E:D309 82020181 900107 9500"}},
		{name: "not offered", profile: "01" + offers[2:], commands: all(more), steps: []string{"E:D307 82020181 900107"}, want: []string{"octet 1, bit 4"}},
		{name: "from the terminal", profile: offers, commands: all(more), steps: []string{"E:D307 82028281 900107"}, want: []string{"8281 instead of 0181"}},
		{name: "of no item", profile: offers, commands: all(more), steps: []string{"E:D304 82020181"}, want: []string{"object 2 is not 10"}},
		{name: "of item 0", profile: offers, commands: all(more), steps: []string{"E:D307 82020181 900100"}, want: []string{"menu selection of item 00"}},
		{name: "help with a value", profile: offers, commands: all(more), steps: []string{"E:D30A 82020181 900107 950101"}, want: []string{"help request of 1 octets"}},
	} {
		t.Run(s.name, s.play)
	}
}
