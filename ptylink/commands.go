package ptylink

// Names and usages of the commands between CP and AP, and of what the AP says by itself.
const (
	nameGetNet    = "%GETNET"
	nameNetPar    = "%NETPAR"
	nameWebOpen   = "%WEBOPCH"
	nameWebClose  = "%WEBCLCH"
	nameWebListen = "%WEBLSTN"
	nameNetStat   = "%NETSTAT"
	nameWebStat   = "%WEBSTAT"
)

// usages are what the test forms answer, for a person on the line.
var usages = map[string]string{
	nameGetNet:    `(1-7),(0-255)[,"<network access name>"]`,
	nameWebOpen:   `(1-7),("TCP","UDP"),"<address>",(1-65535),(1-65535)[,"<network access name>"[,"<user>","<password>"[,"<local address>"]]]`,
	nameWebClose:  `(1-7)[,(0,1)]`,
	nameWebListen: `(1-7),(1-65535),(1-65535)`,
	nameWebStat:   `(0,1)`,
	nameNetStat:   `? gives <access technology>,<state>,"<interface>"`,
}

// Bounds of the strings on the line, in octets.
const (
	MaxChannel     = 7
	MaxAccessPoint = 100
	MaxUser        = 64
	MaxPassword    = 64
	maxPDPType     = 16
	maxInterface   = 15 // IFNAMSIZ less its NUL
	maxAddress     = 45 // an IPv6 address with an IPv4 one in it
)
