package main

import (
	"encoding/hex"
	"strings"

	"bipd/cat"
)

// command makes a proactive command of its objects in hex.
func command(t cat.CommandType, qualifier byte, to cat.DeviceID, objects string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(objects, " ", ""))
	if err != nil {
		panic(err) // it stands in this package
	}
	value := append([]byte{0x81, 3, 1, byte(t), qualifier, 0x82, 2, byte(cat.DeviceUICC), byte(to)}, b...)
	if len(value) < 0x80 {
		return append([]byte{0xD0, byte(len(value))}, value...)
	}
	return append([]byte{0xD0, 0x81, byte(len(value))}, value...)
}

// Parts of an OPEN CHANNEL.
const (
	bearerDefault = "35 01 03 "
	buffer1400    = "39 02 05 78 "
	tcpTo         = "3C 03 02 01 BB 3E 05 21 C0 00 02 01"
)

func open(qualifier byte, objects string) []byte {
	return command(cat.TypeOpenChannel, qualifier, cat.DeviceTerminal, objects)
}

// openTCP is an OPEN CHANNEL with which nothing is wrong.
func openTCP() []byte { return open(cat.OpenImmediate, bearerDefault+buffer1400+tcpTo) }

func closeChannel(n int) []byte {
	return command(cat.TypeCloseChannel, 0, cat.DeviceChannel(n), "")
}

func send(octets int) []byte {
	data := strings.Repeat("00", octets)
	length := hex.EncodeToString([]byte{byte(octets)})
	if octets >= 0x80 {
		length = "81" + length
	}
	return command(cat.TypeSendData, cat.SendImmediately, cat.DeviceChannel(1), "B6"+length+data)
}

func receive(n int) []byte {
	return command(cat.TypeReceiveData, 0, cat.DeviceChannel(n), "B7 01 ED")
}

// sample is a well-formed command of a type, with what has to come before it.
type sample struct {
	qualifier byte
	to        cat.DeviceID
	objects   string
	before    [][]byte
}

// samples are those that are more than details and a way to the terminal.
func samples() map[cat.CommandType]sample {
	opened := [][]byte{openTCP()}
	return map[cat.CommandType]sample{
		cat.TypeRefresh:                 {qualifier: cat.RefreshInit},
		cat.TypePollInterval:            {objects: "84 02 01 1E"},
		cat.TypeSetUpEventList:          {objects: "99 02 09 0A"},
		cat.TypeSetUpCall:               {to: cat.DeviceNetwork, objects: "86 03 81 21 F3"},
		cat.TypeSendSS:                  {to: cat.DeviceNetwork, objects: "89 03 FF 2A 21"},
		cat.TypeSendUSSD:                {to: cat.DeviceNetwork, objects: "8A 03 0F AA 18"},
		cat.TypeSendShortMessage:        {to: cat.DeviceNetwork, objects: "8B 09 01 00 02 91 10 40 F0 01 20"},
		cat.TypeSendDTMF:                {to: cat.DeviceNetwork, objects: "AC 02 C1 F2"},
		cat.TypeLaunchBrowser:           {objects: "31 00"},
		cat.TypePlayTone:                {to: cat.DeviceEarpiece},
		cat.TypeDisplayText:             {qualifier: 0x80, to: cat.DeviceDisplay, objects: "8D 03 04 48 69"},
		cat.TypeGetInkey:                {objects: "8D 03 04 48 69"},
		cat.TypeGetInput:                {objects: "8D 03 04 48 69 91 02 01 05"},
		cat.TypeSelectItem:              {objects: "8F 02 01 41"},
		cat.TypeSetUpMenu:               {objects: "85 01 41 8F 02 01 41"},
		cat.TypeTimerManagement:         {objects: "A4 01 01 A5 03 00 10 00"},
		cat.TypeSetUpIdleModeText:       {objects: "8D 03 04 48 69"},
		cat.TypePerformCardAPDU:         {to: 0x11, objects: "A2 05 A0 F2 00 00 16"},
		cat.TypePowerOnCard:             {to: 0x11},
		cat.TypePowerOffCard:            {to: 0x11},
		cat.TypeRunATCommand:            {objects: "A8 02 41 54"},
		cat.TypeLanguageNotification:    {qualifier: 0x01, objects: "2D 02 65 6E"},
		cat.TypeOpenChannel:             {qualifier: cat.OpenImmediate, objects: bearerDefault + buffer1400 + tcpTo},
		cat.TypeCloseChannel:            {to: cat.DeviceChannel(1), before: opened},
		cat.TypeReceiveData:             {to: cat.DeviceChannel(1), objects: "B7 01 ED", before: opened},
		cat.TypeSendData:                {qualifier: cat.SendImmediately, to: cat.DeviceChannel(1), objects: "B6 01 41", before: opened},
		cat.TypeProvideLocalInformation: {qualifier: cat.LocalDateTime},
	}
}

// commands is what to send for the sample of a type.
func commands(t cat.CommandType) [][]byte {
	s := samples()[t]
	if s.to == 0 {
		s.to = cat.DeviceTerminal
	}
	return append(s.before, command(t, s.qualifier, s.to, s.objects))
}
