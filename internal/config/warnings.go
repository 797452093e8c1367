package config

import "fmt"

// Warnings are what an operator should know of a configuration that has no fault: one sentence each.
func (c *Bipd) Warnings() (all []string) {
	for _, card := range c.Cards {
		if card.EverySlot() && card.PINFile != "" && card.PINICCID == "" {
			all = append(all, fmt.Sprintf("card %s: pin_file without pin_iccid: the PIN is presented to every card in every reader, "+
				"and each that has another one loses a try", card.Name))
		}
		if l := card.Line; l != nil && l.Speed != 0 && l.PayloadCheck == "off" {
			all = append(all, fmt.Sprintf("card %s: line.payload_check = \"off\" on a serial port: octets that the line changes "+
				"reach card and server unnoticed", card.Name))
		}
	}
	return all
}
