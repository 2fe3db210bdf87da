import nodemailer from 'nodemailer';
import { publishing, report } from './drive.mjs';

const transport = nodemailer.createTransport({ host: '127.0.0.1', port: Number(process.argv[2]), pool: true, maxConnections: 20, maxMessages: Infinity, ignoreTLS: true });
const html = `<p>Dear Maria</p>${'<p>We are here for you whenever you need us.</p>'.repeat(60)}`;
const mails = await publishing(10_000, () => transport.sendMail({ from: 'a@agency.example', to: 'maria@customer.example', subject: 'Your policy renews soon', text: 'Dear Maria', html }));
transport.close();
report({ mails });
