/* Copyright (c) 2026, nvmeof.spdk contributors
 * GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A guest of a few KiB that is up in half a second even where everything is emulated: a multiboot program with a legacy
 * virtio-blk PCI driver, so it needs machine "pc". It proves two things from the inside: that the capacity changed by a
 * configuration interrupt, and that the data is right all the time, also in the part that the disk grew by.
 *
 * It prints on the first serial port:
 *   GUEST ready
 *   CAPS t=T vda=SECTORS [vdb=...] isr=0xXX      at the start, on a configuration interrupt (isr bit 1), and on 's'
 *   IO ok=N err=M bad=K gen=G slots=S max=T      every second under load: requests that worked, that failed, sectors with wrong
 *                                                data, finished rounds, sectors in use, the longest request since the last line
 *   IOERR t=T lba=L type=read|write st=N         a request failed (the first, and every 100th in a row)
 *   BAD t=T lba=L want=G got=G first=0xXX        a sector does not hold what was written to it
 *   STALL t=T lba=L / DONE t=T dt=N              a request takes longer than a second / has ended
 *   VERIFY ok=N err=M bad=K                      the result of 'v'
 * All times are in ticks of 50 ms. It understands single letters: s status, w start the load, x stop it, v read everything
 * written so far and check it, q reset the machine. It lets go of a disk that the host takes away (hot-unplug), but for the first.
 *
 * One file although a long one: there is no library below it, and what its parts share are ports and static memory. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define HZ 20u          /* an idle guest costs an emulated hypervisor a wake-up per tick */
#define BUDGET 16       /* requests per tick when everything is read back */
#define PACE 1          /* under load one request per tick: enough to notice trouble, cheap enough for an emulated CPU */
#define MAX_DISKS 4
#define MAX_SLOTS 4096
#define HEAD_SLOTS 192u /* sectors used at the start of the disk, and of each part it grows by */
#define TAIL_SLOTS 64u  /* sectors used at the end */
#define MAGIC 0x6b70647366656d76ULL

__attribute__((section(".multiboot"), used)) static const u32 multiboot[3] = {0x1badb002, 0, -0x1badb002u};

/* ---- ports, serial line ------------------------------------------------------------------------------------------------- */

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0,%1" ::"a"(value), "Nd"(port)); }
static inline void outw(u16 port, u16 value) { __asm__ volatile("outw %0,%1" ::"a"(value), "Nd"(port)); }
static inline void outl(u16 port, u32 value) { __asm__ volatile("outl %0,%1" ::"a"(value), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; __asm__ volatile("inb %1,%0" : "=a"(v) : "Nd"(port)); return v; }
static inline u16 inw(u16 port) { u16 v; __asm__ volatile("inw %1,%0" : "=a"(v) : "Nd"(port)); return v; }
static inline u32 inl(u16 port) { u32 v; __asm__ volatile("inl %1,%0" : "=a"(v) : "Nd"(port)); return v; }
static inline void barrier(void) { __asm__ volatile("lock; addl $0,(%%esp)" ::: "memory"); }

#define COM1 0x3f8

static void put(char c)
{
    for (int i = 0; i < 100000 && !(inb(COM1 + 5) & 0x20); i++)
        ;
    outb(COM1, c);
}

static void text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            put('\r');
        put(*s);
    }
}

/* Decimal; long division by hand, because there is no libgcc here. */
static void number(u64 value)
{
    char digits[21];
    int i = 20;
    u32 high = value >> 32, low = (u32)value;

    digits[i] = 0;
    do {
        u32 quotient = high / 10, rest = high % 10, low_quotient, digit;
        __asm__("divl %4" : "=a"(low_quotient), "=d"(digit) : "a"(low), "d"(rest), "r"(10u));
        digits[--i] = '0' + digit;
        high = quotient;
        low = low_quotient;
    } while (high || low);
    text(digits + i);
}

static void hex(u8 value)
{
    static const char digit[] = "0123456789abcdef";
    text("0x");
    put(digit[value >> 4]);
    put(digit[value & 15]);
}

static void named(const char *name, u64 value)
{
    text(name);
    number(value);
}

/* ---- interrupts --------------------------------------------------------------------------------------------------------- */

static u64 gdt[3] = {0, 0x00cf9a000000ffffULL, 0x00cf92000000ffffULL};
static u64 idt[256];
static struct { u16 limit; u32 base; } __attribute__((packed)) gdt_pointer, idt_pointer;

static volatile u32 ticks;
static volatile u8 isr_seen; /* what the devices' interrupt status had, collected since the last look */

static struct disk { u16 io; u8 slot; u64 sectors; } disks[MAX_DISKS];
static int disk_count;

void on_timer(void);
void on_device(void);
void timer_entry(void);
void device_entry(void);
__asm__("timer_entry: pushal\n call on_timer\n popal\n iret\n"
        "device_entry: pushal\n call on_device\n popal\n iret\n");

__attribute__((used)) void on_timer(void)
{
    ticks++;
    outb(0x20, 0x20);
}

__attribute__((used)) void on_device(void)
{
    /* reading the status also takes the (shared, level-triggered) interrupt line down */
    for (int i = 0; i < disk_count; i++)
        isr_seen |= inb(disks[i].io + 0x13);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static void set_gate(int vector, void (*entry)(void))
{
    u32 address = (u32)entry;
    idt[vector] = ((u64)(address & 0xffff0000) << 32) | 0x00008e0000000000ULL | (8u << 16) | (address & 0xffff);
}

static void set_up_machine(void)
{
    gdt_pointer.limit = sizeof gdt - 1;
    gdt_pointer.base = (u32)gdt;
    __asm__ volatile("lgdt %0\n ljmp $8,$1f\n1: mov $16,%%ax\n mov %%ax,%%ds\n mov %%ax,%%es\n mov %%ax,%%ss" ::"m"(gdt_pointer) : "eax");
    for (int i = 0; i < 256; i++)
        set_gate(i, device_entry);
    set_gate(32, timer_entry);
    idt_pointer.limit = sizeof idt - 1;
    idt_pointer.base = (u32)idt;
    __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    /* both interrupt controllers: vectors 32 and 40 on, everything masked but the timer and the cascade */
    outb(0x20, 0x11); outb(0xa0, 0x11);
    outb(0x21, 32);   outb(0xa1, 40);
    outb(0x21, 4);    outb(0xa1, 2);
    outb(0x21, 1);    outb(0xa1, 1);
    outb(0x21, 0xfa); outb(0xa1, 0xff);
    /* timer: 1193182 / 59659 = 20 Hz */
    outb(0x43, 0x34); outb(0x40, 59659 & 0xff); outb(0x40, 59659 >> 8);
    /* serial: 115200 8n1 with FIFOs, polled */
    outb(COM1 + 1, 0); outb(COM1 + 3, 0x80); outb(COM1, 1); outb(COM1 + 1, 0); outb(COM1 + 3, 3); outb(COM1 + 2, 7); outb(COM1 + 4, 3);
}

/* ---- virtio-blk, legacy PCI interface ------------------------------------------------------------------------------------ */

#define REG_FEATURES 4
#define REG_QUEUE 8
#define REG_QUEUE_SIZE 0xc
#define REG_QUEUE_SELECT 0xe
#define REG_NOTIFY 0x10
#define REG_STATUS 0x12
#define REG_CAPACITY 0x14

static u8 ring[65536] __attribute__((aligned(4096)));
static struct descriptor { u64 address; u32 length; u16 flags, next; } *descriptors;
static volatile u16 *available, *used;
static u16 queue_size, used_seen;
static struct { u32 type, priority; u64 sector; } header;
static u8 buffer[512] __attribute__((aligned(512)));
static volatile u8 status;

static u32 pci_read(u32 slot, u32 reg) { outl(0xcf8, 0x80000000u | slot << 11 | reg); return inl(0xcfc); }
static void pci_write(u32 slot, u32 reg, u32 value) { outl(0xcf8, 0x80000000u | slot << 11 | reg); outl(0xcfc, value); }

static u64 capacity(u16 io)
{
    u32 high, low, again;
    do { /* two reads: the device may change between them */
        high = inl(io + REG_CAPACITY + 4);
        low = inl(io + REG_CAPACITY);
        again = inl(io + REG_CAPACITY + 4);
    } while (high != again);
    return (u64)high << 32 | low;
}

static void find_disks(void)
{
    for (u32 slot = 0; slot < 32 && disk_count < MAX_DISKS; slot++) {
        u32 bar, line;
        u16 io;

        if (pci_read(slot, 0) != 0x10011af4) /* transitional virtio-blk */
            continue;
        bar = pci_read(slot, 0x10);
        if (!(bar & 1))
            continue;
        pci_write(slot, 4, (pci_read(slot, 4) & 0xfbff) | 7); /* I/O, memory, bus master; interrupt line not disabled */
        io = bar & 0xfffc;
        outb(io + REG_STATUS, 0);
        outb(io + REG_STATUS, 1 | 2);
        outl(io + REG_FEATURES, 0);
        if (disk_count == 0) { /* only the first disk gets requests */
            u32 base = (u32)ring;
            outw(io + REG_QUEUE_SELECT, 0);
            queue_size = inw(io + REG_QUEUE_SIZE);
            descriptors = (void *)base;
            available = (void *)(base + 16 * queue_size);
            used = (void *)((base + 16 * queue_size + 6 + 2 * queue_size + 4095) & ~4095u);
            outl(io + REG_QUEUE, base >> 12);
        }
        outb(io + REG_STATUS, 1 | 2 | 4);
        disks[disk_count].io = io;
        disks[disk_count].slot = slot;
        disks[disk_count].sectors = capacity(io);
        disk_count++;
        line = pci_read(slot, 0x3c) & 0xff;
        if (line < 8)
            outb(0x21, inb(0x21) & ~(1u << line));
        else if (line < 16)
            outb(0xa1, inb(0xa1) & ~(1u << (line - 8)));
    }
}

/* ACPI's PCI hot-plug registers of machine "pc": which slots the host wants back, and the ejection that gives them. */
#define HOTPLUG_DOWN 0xae04
#define HOTPLUG_EJECT 0xae08
#define HOTPLUG_BUS 0xae10

/* Let go of what the host wants back, but never of the first disk, which gets the requests. */
static void let_go(void)
{
    u32 slots;

    outl(HOTPLUG_BUS, 0);
    slots = inl(HOTPLUG_DOWN);
    if (disk_count)
        slots &= ~(1u << disks[0].slot);
    if (!slots || slots == 0xffffffffu)
        return;
    for (int i = 1; i < disk_count; i++)
        if (slots & 1u << disks[i].slot)
            disks[i--] = disks[--disk_count];
    outl(HOTPLUG_EJECT, slots);
}

static void submit(int write, u64 sector)
{
    header.type = write;
    header.priority = 0;
    header.sector = sector;
    status = 0xff;
    descriptors[0] = (struct descriptor){(u32)&header, sizeof header, 1, 1};
    descriptors[1] = (struct descriptor){(u32)buffer, sizeof buffer, write ? 1 : 1 | 2, 2};
    descriptors[2] = (struct descriptor){(u32)&status, 1, 2, 0};
    available[2 + available[1] % queue_size] = 0;
    barrier();
    available[1]++;
    barrier();
    outw(disks[0].io + REG_NOTIFY, 0);
}

/* ---- the sectors in use and what they hold ------------------------------------------------------------------------------- */

static struct slot { u64 sector; u32 generation; } slots[MAX_SLOTS]; /* generation 0: unknown */
static u32 slot_count;

struct content { u64 magic, sector; u32 generation, checksum; u32 body[122]; };

/* The first and the last sectors of [from, to). */
static void use_range(u64 from, u64 to)
{
    u64 head = from + HEAD_SLOTS < to ? from + HEAD_SLOTS : to;
    u64 tail = head + TAIL_SLOTS < to ? to - TAIL_SLOTS : head;

    for (u64 sector = from; sector < head && slot_count < MAX_SLOTS; sector++)
        slots[slot_count++] = (struct slot){sector, 0};
    for (u64 sector = tail; sector < to && slot_count < MAX_SLOTS; sector++)
        slots[slot_count++] = (struct slot){sector, 0};
}

/* The body is a xorshift sequence seeded by sector and generation, so no two sectors and no two rounds are alike. */
static u32 fill(u32 *body, u64 sector, u32 generation, int check)
{
    u32 x = ((u32)sector * 2654435761u) ^ (generation * 40503u) ^ 0x9e3779b9u, sum = 0;

    for (int i = 0; i < 122; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x |= !x;
        if (!check)
            body[i] = x;
        else if (body[i] != x)
            return sum + 1; /* any other sum */
        sum = (sum << 5 | sum >> 27) ^ x;
    }
    return sum;
}

static void compose(struct slot *slot, u32 generation)
{
    struct content *c = (void *)buffer;
    c->magic = MAGIC;
    c->sector = slot->sector;
    c->generation = generation;
    c->checksum = fill(c->body, slot->sector, generation, 0);
}

static int right(struct slot *slot)
{
    struct content *c = (void *)buffer;
    return c->magic == MAGIC && c->sector == slot->sector && c->generation == slot->generation &&
           c->checksum == fill(c->body, slot->sector, slot->generation, 1);
}

/* ---- load and verification ----------------------------------------------------------------------------------------------- */

enum { IDLE, LOAD, VERIFY };
static int mode = IDLE, mode_after = IDLE;
static int busy, busy_write, stalled;
static u32 position, generation = 1, started, in_row;
static u32 ok, failed, bad, longest;
static u32 v_ok, v_failed, v_bad;
static int read_next; /* in LOAD: the next request reads back what was just written */

static void show(u8 isr)
{
    text("CAPS");
    named(" t=", ticks);
    for (int i = 0; i < disk_count; i++) {
        text(" vd");
        put('a' + i);
        put('=');
        number(disks[i].sectors);
    }
    text(" isr=");
    hex(isr);
    text("\n");
}

static void show_io(void)
{
    named("IO ok=", ok);
    named(" err=", failed);
    named(" bad=", bad);
    named(" gen=", generation - 1);
    named(" slots=", slot_count);
    named(" max=", longest);
    text("\n");
    longest = 0;
}

static void next_position(void)
{
    read_next = 0;
    if (++position < slot_count)
        return;
    position = 0;
    if (mode == LOAD) {
        generation++;
    } else {
        named("VERIFY ok=", v_ok);
        named(" err=", v_failed);
        named(" bad=", v_bad);
        text("\n");
        mode = mode_after;
    }
}

static void start_request(void)
{
    struct slot *slot = &slots[position];

    if (mode == VERIFY && !slot->generation) { /* never written: nothing to say about it */
        next_position();
        return;
    }
    busy_write = mode == LOAD && !read_next;
    if (busy_write)
        compose(slot, generation);
    else
        for (u32 i = 0; i < sizeof buffer; i++)
            buffer[i] = 0xee; /* a read that delivers nothing must not look right */
    busy = 1;
    stalled = 0;
    started = ticks;
    submit(busy_write, slot->sector);
}

static void finish_request(void)
{
    struct slot *slot = &slots[position];
    u32 took = ticks - started;

    used_seen = used[1];
    busy = 0;
    if (took > longest)
        longest = took;
    if (stalled) {
        named("DONE t=", ticks);
        named(" dt=", took);
        text("\n");
    }
    if (status) {
        failed++;
        v_failed += mode == VERIFY;
        if (in_row++ % 100 == 0) {
            named("IOERR t=", ticks);
            named(" lba=", slot->sector);
            text(busy_write ? " type=write" : " type=read");
            named(" st=", status);
            text("\n");
        }
        if (busy_write)
            slot->generation = 0; /* it may or may not have been written */
        next_position();
        return;
    }
    in_row = 0;
    ok++;
    if (busy_write) {
        slot->generation = generation;
        read_next = 1;
        return;
    }
    if (right(slot)) {
        v_ok += mode == VERIFY;
    } else {
        bad++;
        v_bad += mode == VERIFY;
        named("BAD t=", ticks);
        named(" lba=", slot->sector);
        named(" want=", slot->generation);
        named(" got=", ((struct content *)buffer)->generation);
        text(" first=");
        hex(buffer[0]);
        text("\n");
    }
    next_position();
}

static void command(u8 letter)
{
    if (letter == 's') {
        show(0);
        show_io();
    } else if (letter == 'w' && mode == IDLE && disk_count) {
        mode = LOAD;
        position = 0;
        read_next = 0;
    } else if (letter == 'x') {
        mode = mode_after = IDLE;
        show_io();
    } else if (letter == 'v' && mode != VERIFY && disk_count) {
        mode_after = mode;
        mode = VERIFY;
        position = 0;
        v_ok = v_failed = v_bad = 0;
    } else if (letter == 'q') {
        outb(0x64, 0xfe);
    }
}

/* A new capacity counts only when the device announced it by an interrupt. */
static void look_at_capacity(u8 isr)
{
    for (int i = 0; i < disk_count; i++) {
        u64 now = capacity(disks[i].io);
        if (i == 0 && now > disks[0].sectors)
            use_range(disks[0].sectors, now);
        disks[i].sectors = now;
    }
    show(isr);
}

__attribute__((used)) void run(void)
{
    u32 last_tick = 0, last_line = 0;
    int budget = BUDGET;
    u8 pending = 0;

    set_up_machine();
    find_disks();
    if (disk_count)
        use_range(0, disks[0].sectors);
    text("GUEST ready\n");
    show(0);
    for (;;) {
        u8 seen;

        /* sti takes effect after the next instruction, so no interrupt is lost between the two */
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        seen = isr_seen;
        isr_seen = 0;
        if (seen & 2)
            look_at_capacity(seen);
        if (busy && used[1] != used_seen) {
            finish_request();
        }
        if (busy && !stalled && ticks - started > HZ) {
            stalled = 1;
            named("STALL t=", ticks);
            named(" lba=", slots[position].sector);
            text("\n");
        }
        if (!busy && pending) { /* a letter that came during a request */
            command(pending);
            pending = 0;
        }
        if (ticks != last_tick) {
            last_tick = ticks;
            let_go();
            budget = mode != LOAD ? BUDGET : PACE;
            if (inb(COM1 + 5) & 1) {
                u8 letter = inb(COM1);
                if (busy && letter != 's' && letter != 'q')
                    pending = letter;
                else
                    command(letter);
            }
            if (mode == LOAD && ticks - last_line >= HZ) {
                last_line = ticks;
                show_io();
            }
        }
        while (!busy && mode != IDLE && budget > 0) {
            budget--;
            start_request();
        }
    }
}

__asm__(".globl _start\n_start: cli\n mov $stack+16384,%esp\n call run\n1: hlt\n jmp 1b\n.lcomm stack,16384\n");
