package ccidemu

// The descriptors of published readers, retyped from the dumps in the folder readers of the CCID driver project
// (github.com/LudovicRousseau/CCID). The dumps give the class descriptor, names and ids; endpoints, packet sizes and what
// firmware does beyond the standard are our own choice.

// full is what the models have in common: full speed, one slot, and the endpoints of our choice.
func full(m Model) Model {
	m.Slots, m.BusySlots, m.MaxPacket = max(m.Slots, 1), max(m.BusySlots, 1), 64
	m.BulkOut, m.BulkIn, m.InterruptIn = 0x02, 0x82, 0x81
	if m.CCID == 0 {
		m.CCID = 0x0100
	}
	return m
}

// SCR3310 is a reader of TPDU level that configures itself: parameters, voltage, PPS. Readers of this maker are known to take
// longer messages than the 263 octets that they tell of, in which the longest command of T=0 has no room.
func SCR3310() Model {
	return full(Model{
		Manufacturer: "SCM Microsystems Inc.", Name: "SCR3310 USB Smart Card Reader", Serial: "emulated-3310",
		Vendor: 0x04E6, Product: 0x5116, Release: 0x0518,
		Voltage: 1, Protocols: 3, Clock: 4000, MaxClock: 12000, DataRate: 9600, MaxDataRate: 307200,
		MaxIFSD: 252, Features: 0x000100BA, MaxMessage: 263, LongestMessage: 271, GetResponse: 0xFF, Envelope: 0xFF,
	})
}

// ACR39U is a reader of TPDU level that configures itself but for the voltage.
func ACR39U() Model {
	return full(Model{
		Manufacturer: "ACS", Name: "ACR39U ICC Reader",
		Vendor: 0x072F, Product: 0xB100, Release: 0x0216, CCID: 0x0110,
		Voltage: 7, Protocols: 3, Clock: 4800, MaxClock: 16000, DataRate: 12903, MaxDataRate: 826000,
		MaxIFSD: 247, Features: 0x000100B2, MaxMessage: 271, GetResponse: 0xFF, Envelope: 0xFF,
	})
}

// ACR38U is a reader of TPDU level that leaves parameters, PPS and voltage to the host; it has 5 V alone.
func ACR38U() Model {
	return full(Model{
		Manufacturer: "ACS", Name: "ACR38 USB Reader",
		Vendor: 0x072F, Product: 0x90CC, Release: 0x0100,
		Voltage: 1, Protocols: 3, Clock: 4000, MaxClock: 4000, DataRate: 10752, MaxDataRate: 129032,
		MaxIFSD: 254, Features: 0x00010030, MaxMessage: 271,
	})
}

// PCTwin is a reader of TPDU level that leaves parameters, PPS and voltage to the host.
func PCTwin() Model {
	return full(Model{
		Manufacturer: "Gemplus", Name: "USB SmartCard Reader",
		Vendor: 0x08E6, Product: 0x3437, Release: 0x0100,
		Voltage: 7, Protocols: 3, Clock: 4000, MaxClock: 4000, DataRate: 10752, MaxDataRate: 344086,
		MaxIFSD: 254, Features: 0x00010230, MaxMessage: 271,
		ClockList: []uint32{4000},
		RateList:  []uint32{10753, 21505, 43011, 86022, 125000, 172043, 250000, 344086}, // of forty
	})
}

// CardMan3121 is a reader of short APDU level.
func CardMan3121() Model {
	return full(Model{
		Manufacturer: "OMNIKEY AG", Name: "Smart Card Reader USB",
		Vendor: 0x076B, Product: 0x3021, Release: 0x0101,
		Voltage: 7, Protocols: 3, Clock: 3000, MaxClock: 12000, DataRate: 8065, MaxDataRate: 96774,
		MaxIFSD: 254, Synchronous: 7, Features: 0x000205B2, MaxMessage: 271,
	})
}

// AU9540 is a reader of short and extended APDU level, whose messages are short enough that long responses are chained.
func AU9540() Model {
	return full(Model{
		Manufacturer: "Generic", Name: "EMV Smartcard Reader",
		Vendor: 0x058F, Product: 0x9540, Release: 0x0120,
		Voltage: 7, Protocols: 3, Clock: 3700, MaxClock: 3700, Clocks: 1, DataRate: 9946, MaxDataRate: 318280, Rates: 53,
		MaxIFSD: 254, Synchronous: 7, Features: 0x000404BE, MaxMessage: 272, GetResponse: 0xFF, Envelope: 0xFF,
		ClockList: []uint32{3700}, ResponsePart: 128,
	})
}

// AU9522 is a reader of short APDU level with two slots, of which one is busy at a time.
func AU9522() Model {
	return full(Model{
		Manufacturer: "Generic", Name: "PCSC Smartcard Reader", Slots: 2,
		Vendor: 0x058F, Product: 0x9522, Release: 0x0102,
		Voltage: 3, Protocols: 3, Clock: 3700, MaxClock: 3700, Clocks: 1, DataRate: 9946, MaxDataRate: 318280, Rates: 53,
		MaxIFSD: 254, Synchronous: 7, Features: 0x000204BE, MaxMessage: 271, GetResponse: 0xFF, Envelope: 0xFF,
		ClockList: []uint32{3700},
	})
}

// QEMU is the reader that QEMU 7.2 emulates, as observed: no line to the card, answers that vanish, statuses without
// errors, a transfer of no octets behind one of 64.
func QEMU() Model {
	m := full(Model{
		Manufacturer: "QEMU", Name: "QEMU USB CCID", Serial: "1",
		Vendor: 0x08E6, Product: 0x4433, CCID: 0x0110,
		Voltage: 7, Protocols: 1, Clock: 4000, MaxClock: 4000, Clocks: 1, DataRate: 9600, MaxDataRate: 115200, Rates: 1,
		MaxIFSD: 254, Features: 0x000104FE, MaxMessage: 65554, GetResponse: 0xFF, Envelope: 0xFF, PIN: 1,
		NoAbort: true, NoClearHalt: true, Verbatim: true, LooseSlots: true,
		Faults: []Fault{
			{Kind: DropAbove, N: 384},
			{Kind: StrayZLP},
			{Kind: EmptyParameters},
			{Kind: NoErrorBit, Message: msgXfrBlock},
			{Kind: Unsupported, Message: msgSecure}, {Kind: Unsupported, Message: msgT0APDU}, {Kind: Unsupported, Message: msgEscape},
			{Kind: Unsupported, Message: msgIccClock}, {Kind: Unsupported, Message: msgMechanical}, {Kind: Unsupported, Message: msgSetDataRate},
		},
	})
	m.BulkOut = 0x03
	return m
}

// OctSIM is a reader of TPDU level for eight UICCs that makes the PPS of the parameters that the host sets: nothing is
// configured from the answer to reset.
func OctSIM() Model {
	return full(Model{
		Manufacturer: "sysmocom - s.f.m.c. GmbH", Name: "sysmoOCTSIM 0.2.40-172b", Slots: 8, BusySlots: 8,
		Vendor: 0x1D50, Product: 0x6141, CCID: 0x0110,
		Voltage: 7, Protocols: 1, Clock: 2500, MaxClock: 20000, Clocks: 4, DataRate: 6720, MaxDataRate: 921600,
		Features: 0x000100B0, MaxMessage: 272, GetResponse: 0xFF, Envelope: 0xFF,
	})
}

// SCL010 is a reader of TPDU level that negotiates the parameters by itself; its interface has the class of a vendor.
func SCL010() Model {
	return full(Model{
		Manufacturer: "SCM Microsystems Inc.", Name: "SCL010 Contactless Reader",
		Vendor: 0x04E6, Product: 0x5291, Release: 0x0102, CCID: 0x0110,
		Voltage: 1, Protocols: 3, Clock: 13560, MaxClock: 13560, DataRate: 106000, MaxDataRate: 848000,
		MaxIFSD: 254, Features: 0x0001007E, MaxMessage: 271, GetResponse: 0xFF, Envelope: 0xFF, Class: 0xFF,
	})
}

// SIMHUB is a reader of short APDU level that negotiates by itself, and wants an IccPowerOff before it tells of its slot
// (https://github.com/LudovicRousseau/CCID/issues/158).
func SIMHUB() Model {
	return full(Model{
		Manufacturer: "SIMHUB", Name: "pcsc reader",
		Vendor: 0x1677, Product: 0x0341, Release: 0x0100, CCID: 0x0110,
		Voltage: 1, Protocols: 1, Clock: 3580, MaxClock: 3580, DataRate: 9600, MaxDataRate: 9600,
		Features: 0x00020840, MaxMessage: 271, GetResponse: 0xFF, Envelope: 0xFF, NeedsPowerOff: true,
	})
}

// MultiSlot is a reader of our making: TPDU level, everything left to the host, slots that are busy at the same time.
func MultiSlot(slots int) Model {
	return full(Model{
		Manufacturer: "bipd", Name: "Multi-slot reader of TPDU level", Slots: slots, BusySlots: byte(slots),
		Vendor: 0x1209, Product: 0x0001, Release: 0x0100, CCID: 0x0110,
		Voltage: 7, Protocols: 3, Clock: 4000, MaxClock: 4000, DataRate: 10752, MaxDataRate: 344086,
		MaxIFSD: 254, Features: FeatureTPDU | FeatureClock | FeatureBaud, MaxMessage: 271,
	})
}

// Manual is a reader of our making that does nothing by itself, not even the baud rate; without an interrupt endpoint.
func Manual() Model {
	m := MultiSlot(1)
	m.Name, m.Features, m.InterruptIn = "Reader without any automatism", FeatureTPDU, 0
	return m
}

// Characters is a reader of our making at character level.
func Characters() Model {
	m := MultiSlot(1)
	m.Name, m.Features = "Reader of character level", FeatureClock|FeatureBaud
	return m
}

// Chainer is a reader of our making: extended APDU level with messages of 64 octets of data, so that commands are
// chained as well as responses. The standard asks for room for 261.
func Chainer() Model {
	m := AU9540()
	m.Manufacturer, m.Name, m.MaxMessage, m.ResponsePart = "bipd", "Reader of extended APDU level with short messages", 10+64, 0
	m.Vendor, m.Product = 0x1209, 0x0002
	return m
}

// Models are all of them.
func Models() []Model {
	return []Model{
		SCR3310(), ACR39U(), ACR38U(), PCTwin(), CardMan3121(), AU9540(), AU9522(), OctSIM(), SCL010(), SIMHUB(),
		QEMU(), MultiSlot(2), Manual(), Characters(), Chainer(),
	}
}
